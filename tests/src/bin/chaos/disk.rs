//! Where a member keeps its data: a plain folder, a file system on a loop image whose plug can be
//! pulled, or one that is small enough to be filled. The last two need root; mounts live in a mount
//! namespace of this process and end with it.
//!
//! A power cut, without a kernel module: the process is killed and the image copied before the
//! kernel writes what is only in its cache; the copy is what the disk would hold.

use std::fs::{self, File};
use std::io::{Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room of a disk that can be filled or cut.
const IMAGE_BYTES: u64 = 64 << 20;

/// One member's disk.
pub(crate) struct Disk {
    mount: PathBuf,
    image: Option<PathBuf>,
    cuts: u32,
}

/// Runs a program to its end, quietly.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("{program} {arguments:?}"))) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

impl Disk {
    /// A folder.
    pub(crate) fn plain(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { mount: folder.to_owned(), image: None, cuts: 0 })
    }

    /// ext4 on an image in memory.
    pub(crate) fn image(folder: &Path) -> Result<Self> {
        let (mount, below) = (folder.join("mount"), folder.join("below"));
        fs::create_dir_all(&mount)?;
        fs::create_dir_all(&below)?;
        run("mount", &["-t", "tmpfs", "-o", "size=200m", "tmpfs", text(&below)])?;
        let image = below.join("0.img");
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        run("mount", &["-o", "loop", text(&image), text(&mount)])?;
        Ok(Self { mount, image: Some(image), cuts: 0 })
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// Whether [`Self::cut`] works.
    pub(crate) fn has_plug(&self) -> bool {
        self.image.is_some()
    }

    /// Keeps what the disk holds now: what was not synced is lost. Nobody uses it at the moment.
    pub(crate) fn cut(&mut self) -> Result<()> {
        let Some(image) = self.image.clone() else { return Err(Error::other("no image")) };
        self.cuts += 1;
        let copy = image.with_file_name(format!("{}.img", self.cuts));
        run("cp", &["--sparse=always", text(&image), text(&copy)])?;
        run("umount", &[text(&self.mount)])?;
        fs::remove_file(&image)?;
        run("mount", &["-o", "loop", text(&copy), text(&self.mount)])?;
        self.image = Some(copy);
        Ok(())
    }

    /// Takes all the space there is.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.mount.join("filler"))?;
        let block = vec![0x5a; 64 << 10];
        while file.write_all(&block).is_ok() {}
        // What did not fit is not missed.
        let _ = file.sync_all();
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free(&self) -> Result<()> {
        fs::remove_file(self.mount.join("filler"))
    }
}
