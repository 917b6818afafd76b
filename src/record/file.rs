//! Traces and traffic in files.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use burstlet_engine::traffic::{
    Recording, Traffic, TrafficError,
    import::{Import, ImportError, Importer, Settings},
};
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// What a compressed file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// No traffic file of a scenario is larger; a longer one is a trace that is still to be recorded.
const MOST_TRAFFIC: u64 = 256 * 1024 * 1024;

/// Why a file is not recorded, or not written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("{file}: unable to read: {error}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("{file}: unable to write: {error}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Its content is refused.
    #[error("{file}: {error}")]
    Import {
        /// The file.
        file: String,
        /// What is wrong, and where.
        error: ImportError,
    },
    /// It is no recorded traffic.
    #[error("{file}: {error}")]
    Traffic {
        /// The file.
        file: String,
        /// What is wrong, and where.
        error: TrafficError,
    },
    /// It is too large for what it is named as.
    #[error("{file}: larger than {MOST_TRAFFIC} bytes; turn it into a traffic file with `burstlet record` first")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// Somebody stopped it.
    #[error("stopped; nothing was written: --repair end=cut keeps what was read of a lone file until then")]
    Stopped,
}

/// Imports the trace in `path` (`-`: standard input), compressed with gzip or not. `progress` is told after each piece
/// how many bytes of the file are read, and says whether to go on; if not, the file is as one that is cut off there.
pub fn import_file(
    path: &Path,
    settings: &Settings,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<Import, RecordError> {
    let file = name_of(path);
    let read = |error| RecordError::Read { file: file.clone(), error };
    let import = |error| RecordError::Import { file: file.clone(), error };
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(read)?) };
    let mut source = source;
    let head = first_bytes(&mut source).map_err(read)?;
    let is_compressed = head == GZIP;
    let whole = io::Cursor::new(head).chain(source);
    let mut pieces = Pieces::new(whole, is_compressed);
    let mut importer = Importer::new(settings.clone());
    let mut piece = vec![0; PIECE];
    loop {
        match pieces.next(&mut piece) {
            Ok(0) => break,
            Ok(length) => importer.push(&piece[..length]).map_err(import)?,
            Err(error) if is_compressed && is_damage(&error) => {
                importer.cut_off(&error.to_string()).map_err(import)?;
                break;
            }
            Err(error) => return Err(read(error)),
        }
        if !progress(pieces.read_bytes()) {
            // What was read counts as that of a file that ends here: where that is asked for.
            importer.cut_off("stopped").map_err(|_| RecordError::Stopped)?;
            break;
        }
    }
    importer.finish().map_err(import)
}

/// Reads recorded traffic as a scenario names it: either format, compressed or not.
pub fn read_traffic(path: &Path) -> Result<Traffic, RecordError> {
    let file = name_of(path);
    let read = |error| RecordError::Read { file: file.clone(), error };
    let mut source = File::open(path).map_err(read)?;
    let head = first_bytes(&mut source).map_err(read)?;
    let mut bytes = Vec::new();
    let whole = io::Cursor::new(&head).chain(source);
    let length = if head == GZIP {
        MultiGzDecoder::new(whole).take(MOST_TRAFFIC + 1).read_to_end(&mut bytes)
    } else {
        whole.take(MOST_TRAFFIC + 1).read_to_end(&mut bytes)
    };
    length.map_err(read)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_TRAFFIC {
        return Err(RecordError::TooLarge { file });
    }
    Traffic::read(&bytes).map_err(|error| RecordError::Traffic { file: file.clone(), error })
}

/// Writes `recording` as the name of `path` asks: CSV for `.csv`, else a traffic file; compressed where `.gz` follows.
/// The file appears whole or not at all. The same recording gives the same bytes.
pub fn write_recording(path: &Path, recording: &Recording) -> Result<u64, RecordError> {
    let file = name_of(path);
    let write = |error| RecordError::Write { file: file.clone(), error };
    let has_ending =
        |path: &Path, ending: &str| path.extension().is_some_and(|known| known.eq_ignore_ascii_case(ending));
    let is_compressed = has_ending(path, "gz");
    let inner = if is_compressed { PathBuf::from(path.file_stem().unwrap_or_default()) } else { path.to_owned() };
    let bytes =
        if has_ending(&inner, "csv") { recording.traffic().to_csv().into_bytes() } else { recording.to_bytes() };
    let bytes = if is_compressed { compressed(&bytes).map_err(write)? } else { bytes };
    if path == Path::new("-") {
        io::stdout().lock().write_all(&bytes).map_err(write)?;
    } else {
        put(path, &bytes).map_err(write)?;
    }
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Writes a file that appears whole or not at all.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe or a device is written to as it is.
        return fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What could not be put in its place is of no use.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Neither a name nor a time in the header, so that the bytes depend on the content alone.
fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn first_bytes(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(2).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether compressed data are cut off or damaged, and not the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Counts the bytes that were read.
struct Counted<R> {
    source: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.read += u64::try_from(length).unwrap_or(0);
        Ok(length)
    }
}

/// The bytes of a file, decompressed if need be.
enum Pieces<R: Read> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
}

impl<R: Read> Pieces<R> {
    fn new(source: R, is_compressed: bool) -> Self {
        let source = Counted { source, read: 0 };
        if is_compressed { Self::Gzip(Box::new(MultiGzDecoder::new(source))) } else { Self::Plain(source) }
    }

    fn next(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Plain(source) => source.read(piece),
                Self::Gzip(source) => source.read(piece),
            };
            if !read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                return read;
            }
        }
    }

    fn read_bytes(&self) -> u64 {
        match self {
            Self::Plain(source) => source.read,
            Self::Gzip(source) => source.get_ref().read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "time,count\n0,60\n60,120\n120,30\n";

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn import(path: &Path) -> Result<Import, RecordError> {
        import_file(path, &Settings::default(), |_| true)
    }

    #[test]
    fn a_compressed_trace_reads_as_a_plain_one() {
        let folder = folder();
        let (plain, packed) = (folder.path().join("a.csv"), folder.path().join("a.csv.gz"));
        fs::write(&plain, TABLE).unwrap();
        // Two members, as logs that were compressed one by one and joined.
        let (begin, end) = TABLE.as_bytes().split_at(13);
        fs::write(&packed, [compressed(begin).unwrap(), compressed(end).unwrap()].concat()).unwrap();
        assert_eq!(import(&plain).unwrap(), import(&packed).unwrap());
    }

    #[test]
    fn a_truncated_gzip_is_named_with_the_line_or_cut() {
        let folder = folder();
        let path = folder.path().join("a.csv.gz");
        let row = |index: u32| format!("{index},{}\n", index * 7919 % 1000);
        let text: String = (0..20_000).map(row).collect();
        let whole = compressed(format!("time,count\n{text}").as_bytes()).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let refused = import(&path).unwrap_err().to_string();
        assert!(refused.contains("a.csv.gz: line ") && refused.contains("the file is cut off or damaged"), "{refused}");
        let repairs = ["end=cut".parse().unwrap()].into_iter().collect();
        let kept = import_file(&path, &Settings { repairs, ..Settings::default() }, |_| true).unwrap();
        assert!((1000..19_999).contains(&kept.report.rows), "{}", kept.report.rows);
    }

    #[test]
    fn what_is_written_is_read_in_every_form_and_the_bytes_are_the_same_each_time() {
        let folder = folder();
        let plain = folder.path().join("a.csv");
        fs::write(&plain, TABLE).unwrap();
        let recording = import(&plain).unwrap().recording;
        for name in ["b.csv", "b.csv.gz", "b.traffic", "b.traffic.gz"] {
            let path = folder.path().join(name);
            write_recording(&path, &recording).unwrap();
            assert_eq!(read_traffic(&path).unwrap(), recording.traffic(), "{name}");
            let first = fs::read(&path).unwrap();
            write_recording(&path, &recording).unwrap();
            assert_eq!(fs::read(&path).unwrap(), first, "{name}");
        }
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 5, "something was left behind");
    }

    #[test]
    fn what_cannot_be_read_or_written_is_named() {
        let folder = folder();
        let missing = folder.path().join("missing.log");
        let told = import(&missing).unwrap_err().to_string();
        assert!(told.contains("missing.log: unable to read: No such file"), "{told}");
        assert!(import(folder.path()).unwrap_err().to_string().contains("directory"));
        let plain = folder.path().join("a.csv");
        fs::write(&plain, TABLE).unwrap();
        let recording = import(&plain).unwrap().recording;
        let nowhere = write_recording(&missing.join("x.traffic"), &recording).unwrap_err().to_string();
        assert!(nowhere.contains("x.traffic: unable to write: "), "{nowhere}");
        assert!(matches!(import_file(&plain, &Settings::default(), |_| false), Err(RecordError::Stopped)));
    }
}
