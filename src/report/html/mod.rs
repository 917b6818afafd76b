//! A run as one HTML file that needs neither network nor scripts, readable on a phone, in print, in light and in dark.
//!
//! Charts are SVG drawn here, with their labels in HTML beside them: so they stretch with the page and the labels keep
//! their size. Numbers are written by one module, the same on every machine.

mod axis;
mod chart;
mod figures;
mod number;
mod page;
mod thin;

pub(crate) use number::escaped;
pub(crate) use page::STYLE;
pub use page::{Subject, html_page};
