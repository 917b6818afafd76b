//! What a run has delivered, for people: the table, and one HTML file.

mod html;
mod paint;
mod table;

pub(crate) use html::{STYLE, escaped};
pub use html::{Subject, html_page};
pub use paint::Paint;
pub use table::{LiveTable, summary_table};
