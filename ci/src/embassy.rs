//! `cargo ci embassy`: the Raft library on a microcontroller. Builds `raft/examples/embassy`,
//! measures the image, runs it under QEMU and measures what it needed.
//!
//! The image ends with exit code 0 only when three members went through an election, 1,000 commands
//! and the loss of a leader and agree; see its `main.rs`.

use crate::process::{cargo, now, step};
use crate::tree;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const FOLDER: &str = "raft/examples/embassy";
const IMAGE: &str = "target/thumbv7em-none-eabihf/release/nacolet-raft-embassy";

/// The run takes some seconds; a busy machine may take longer.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// Pause between two looks at the run.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Most code of engine and loop, bytes: all of it that bears the library's name.
const LIBRARY_BYTES_MAX: usize = 128 << 10;

/// Most memory in use at once, bytes: statics, heap and stack of all three members.
const RAM_BYTES_MAX: usize = 64 << 10;

/// Builds, runs and measures; true if the story ended well and inside the bounds.
pub(crate) fn run() -> bool {
    let folder = tree::root().join(FOLDER);
    let mut build = cargo();
    // Its own settings count, and not those of the tool that runs this.
    build.current_dir(&folder).env_remove("CARGO_TARGET_DIR");
    build.args(["build", "--release", "--locked"]);
    if !step("embassy build", &mut build) {
        return false;
    }
    let (Some(sizes), Some(symbols)) =
        (output(&folder, "size", &["-A", IMAGE]), output(&folder, "nm", &["-S", IMAGE]))
    else {
        return false;
    };
    let Some(story) = story(&folder) else { return false };
    print!("{story}");
    match measure(&sizes, &symbols, &story) {
        Some(figures) => figures.report(),
        None => {
            println!("embassy: the tools or the image said something unexpected");
            false
        }
    }
}

/// What a tool of binutils prints.
fn output(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(program).current_dir(folder).args(arguments).output();
    match ran {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok(),
        Ok(output) => {
            println!("{program}: {}", output.status);
            None
        }
        Err(error) => {
            println!("{program}: {error}");
            None
        }
    }
}

/// What the image prints; none if it fails or takes too long.
fn story(folder: &Path) -> Option<String> {
    println!("── embassy run");
    let mut run = cargo();
    run.current_dir(folder).env_remove("CARGO_TARGET_DIR");
    run.args(["run", "--release", "--locked", "--quiet"]);
    run.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = match run.spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("embassy run: {error}");
            return None;
        }
    };
    // A few hundred bytes, which fit into the pipe: nobody has to read while it runs.
    let start = now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status.success()),
            Ok(None) if start.elapsed() > RUN_WITHIN => break Err("takes too long".to_owned()),
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(error) => break Err(error.to_string()),
        }
    };
    if status.is_err() {
        // It may have ended meanwhile, which is as good.
        child.kill().ok();
        child.wait().ok();
    }
    let mut said = String::new();
    child.stdout.take()?.read_to_string(&mut said).ok()?;
    match status {
        Ok(true) => Some(said),
        Ok(false) => {
            println!("{said}embassy run: the image failed");
            None
        }
        Err(error) => {
            println!("{said}embassy run: {error}");
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Figures {
    flash: usize,
    library: usize,
    statics: usize,
    heap: usize,
    stack: usize,
}

impl Figures {
    fn report(&self) -> bool {
        let Self { flash, library, statics, heap, stack } = self;
        let ram = statics + heap + stack;
        println!(
            "embassy: flash {flash} bytes, of which {library} in functions of nacolet-raft \
             (at most {LIBRARY_BYTES_MAX}); RAM {ram} bytes in use at most: statics {statics}, \
             heap {heap}, stack {stack} (at most {RAM_BYTES_MAX})"
        );
        *library <= LIBRARY_BYTES_MAX && ram <= RAM_BYTES_MAX
    }
}

/// Reads the output of `size -A`, of `nm -S` and of the image.
fn measure(sizes: &str, symbols: &str, story: &str) -> Option<Figures> {
    let section = |name: &str| {
        let mut lines = sizes.lines().map(str::split_whitespace);
        let mut line = lines.find(|line| line.clone().next() == Some(name))?;
        line.nth(1)?.parse::<usize>().ok()
    };
    let words: Vec<&str> =
        story.lines().find(|line| line.starts_with("memory: "))?.split_whitespace().collect();
    let ["memory:", "heap", heap, "of", arena, "bytes,", "stack", stack, "bytes"] = *words else {
        return None;
    };
    let arena: usize = arena.parse().ok()?;
    let flash = [".vector_table", ".text", ".rodata", ".data"];
    Some(Figures {
        flash: flash.iter().filter_map(|name| section(name)).sum(),
        library: symbols.lines().filter_map(library_function).sum(),
        statics: (section(".data")? + section(".bss")?).checked_sub(arena)?,
        heap: heap.parse().ok()?,
        stack: stack.parse().ok()?,
    })
}

/// The size of a function if it is one of the library, or made of its types.
fn library_function(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, bytes, "t" | "T", name] = *words else { return None };
    let is_ours = name.contains("nacolet_raft") && !name.contains("20nacolet_raft_embassy");
    usize::from_str_radix(bytes, 16).ok().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_tools_and_the_image() {
        let sizes = ".vector_table 1024 0\n.text 2000 1024\n.rodata 30 3024\n.data 4 536870912\n\
                     .bss 700 536870916\n.comment 99 0\n";
        let symbols = "00000400 00000010 t _ZN12nacolet_raft6engine4stepE\n\
                       00000410 00000020 t _ZN20nacolet_raft_embassy4mainE\n\
                       00000430 00000040 T _ZN4core3ptrE\n00000470 00000080 b _ZN12nacolet_raftE\n";
        let story = "elected\nmemory: heap 300 of 500 bytes, stack 90 bytes\n";
        let expected = Figures { flash: 3_058, library: 16, statics: 204, heap: 300, stack: 90 };
        assert_eq!(measure(sizes, symbols, story), Some(expected));
        assert_eq!(measure(sizes, symbols, "elected\n"), None);
    }
}
