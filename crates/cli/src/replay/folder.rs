//! The folder of a recording.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use llm_autoscaler_simulate::recording::{Chunk, Header, Recording};

/// The files: the recording, a trace of it, and the fleet that ran.
const RECORDING: &str = "recording.jsonl";
const TRACE: &str = "trace.csv";
const FLEET: &str = "fleet.csv";
/// The seed of the trace in the folder.
const SEED: u64 = 1;

/// The folder of a recording, which may not be there yet.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// The file of a recording, to which chunks are added.
#[derive(Debug)]
pub(super) struct ChunkFile {
    file: File,
    path: PathBuf,
    /// The chunks that were there.
    pub(super) known: Vec<Chunk>,
}

impl Folder {
    /// Returns the folder at a path.
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Returns the header of the recording; `None` if nothing was recorded.
    pub(super) fn header(&self) -> anyhow::Result<Option<Header>> {
        let found = self.parse()?.filter(|(_, chunks, _)| has_samples(chunks));
        Ok(found.map(|(header, ..)| header))
    }

    /// Returns the recording.
    pub(super) fn read(&self) -> anyhow::Result<Recording> {
        let (header, chunks, _) = self.parse()?.with_context(|| {
            format!(
                "there is no recording in {}; name a Prometheus with --prometheus",
                self.0.display()
            )
        })?;
        let (found, all) = (chunks.len(), header.chunks().len());
        ensure!(
            found == all,
            "the recording in {} has {found} of its {all} chunks: name the Prometheus with \
             --prometheus, and it goes on",
            self.0.display()
        );
        Recording::of(header, &chunks)
            .with_context(|| format!("the recording in {}", self.0.display()))
    }

    /// Opens the file of a recording, and makes it if it is not there. A line that was cut off is
    /// removed. A recording of something else is replaced if it has no samples: its server or its
    /// pods were misnamed.
    pub(super) fn open(&self, header: &Header) -> anyhow::Result<ChunkFile> {
        let path = self.0.join(RECORDING);
        let writing = || format!("writing {}", path.display());
        fs::create_dir_all(&self.0).with_context(writing)?;
        let found = self.parse()?;
        let options = || OpenOptions::new().append(true).create(true).open(&path);
        let mut file = options().with_context(writing)?;
        let is_kept = |(begun, chunks, _): &(Header, Vec<Chunk>, usize)| {
            begun == header || has_samples(chunks)
        };
        let known = if let Some((begun, chunks, end)) = found.filter(is_kept) {
            ensure!(
                begun == *header,
                "{} is a recording of something else: of pods {} in {} by {}, {} to {} s since \
                 1970; name another folder with --recording, or the same options",
                path.display(),
                begun.pods,
                begun.namespace,
                begun.server,
                begun.from,
                begun.to,
            );
            file.set_len(end as u64).with_context(writing)?;
            chunks
        } else {
            file.set_len(0).with_context(writing)?;
            let line = serde_json::to_string(header)? + "\n";
            file.write_all(line.as_bytes()).with_context(writing)?;
            Vec::new()
        };
        Ok(ChunkFile { file, path, known })
    }

    /// Writes the trace and the fleet of a recording beside it.
    pub(super) fn write_csv(&self, recording: &Recording, sigma: f64) -> anyhow::Result<()> {
        let files = [(TRACE, recording.trace_csv(SEED, sigma)), (FLEET, recording.fleet_csv())];
        for (name, text) in files {
            let path = self.0.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    fn parse(&self) -> anyhow::Result<Option<(Header, Vec<Chunk>, usize)>> {
        let path = self.0.join(RECORDING);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        // A writer that was killed before its first line ended has recorded nothing.
        if !text.contains('\n') {
            return Ok(None);
        }
        Recording::parse(&text).map(Some).with_context(|| path.display().to_string())
    }
}

/// Returns whether the server had a page of one of the pods.
fn has_samples(chunks: &[Chunk]) -> bool {
    chunks.iter().any(|chunk| chunk.step.is_some())
}

impl ChunkFile {
    /// Adds a chunk. It is on the disk when this returns.
    pub(super) fn append(&mut self, chunk: &Chunk) -> anyhow::Result<()> {
        let line = serde_json::to_string(chunk)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("writing {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: Header::version(),
            server: "http://prometheus:9090".to_owned(),
            namespace: "models".to_owned(),
            pods: "qwen-.*".to_owned(),
            matchers: Vec::new(),
            engine: "VLLM".to_owned(),
            from: 0.0,
            to: 200.0,
            chunk: 100.0,
        }
    }

    #[test]
    fn a_recording_that_was_cut_off_goes_on_after_its_last_whole_chunk() {
        let path = std::env::temp_dir().join(format!("recording-{}", std::process::id()));
        let folder = Folder::at(&path);
        assert!(folder.read().unwrap_err().to_string().contains("--prometheus"));
        let chunk = |from, to| Chunk { from, to, step: Some(5.0), ..Chunk::default() };
        folder.open(&header()).unwrap().append(&chunk(0.0, 100.0)).unwrap();
        let error = folder.read().unwrap_err().to_string();
        assert!(error.contains("1 of its 2 chunks"), "{error}");
        let file = path.join(RECORDING);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + "{\"from\":100.0,\"to\"").unwrap();
        let mut opened = folder.open(&header()).unwrap();
        assert_eq!(opened.known, [chunk(0.0, 100.0)]);
        opened.append(&chunk(100.0, 200.0)).unwrap();
        assert_eq!(folder.open(&header()).unwrap().known.len(), 2);
        folder.read().unwrap();
        assert_eq!(folder.header().unwrap(), Some(header()));
        let other = Header { pods: "other".to_owned(), ..header() };
        let error = folder.open(&other).unwrap_err().to_string();
        assert!(error.contains("another folder"), "{error}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_first_try_that_found_nothing_is_replaced_by_one_with_other_options() {
        let path = std::env::temp_dir().join(format!("misnamed-{}", std::process::id()));
        let folder = Folder::at(&path);
        let misnamed = Header { pods: "qven-.*".to_owned(), ..header() };
        let empty = Chunk { to: 100.0, ..Chunk::default() };
        for chunks in [&[][..], &[empty]] {
            let mut file = folder.open(&misnamed).unwrap();
            for chunk in chunks {
                file.append(chunk).unwrap();
            }
            // The range of time is not kept either.
            assert_eq!(folder.header().unwrap(), None);
            assert_eq!(folder.open(&misnamed).unwrap().known, chunks, "the same options go on");
            assert_eq!(folder.open(&header()).unwrap().known, []);
        }
        fs::remove_dir_all(&path).unwrap();
    }
}
