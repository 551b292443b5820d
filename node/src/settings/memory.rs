//! How much memory there is for this process: what the narrowest control group on its path allows,
//! or what the machine has.

use std::path::Path;

use nacolet_model::limits;

/// Bytes of memory, where there is little.
pub(super) fn little() -> Option<u64> {
    let available = available(|path| std::fs::read_to_string(path).ok());
    available.filter(|bytes| bytes / 2 < limits::ROOM_BYTES_MAX)
}

/// Half of the memory, as far as it is any use: the other half is for all that is no config.
pub(super) fn default_room(available: Option<u64>) -> u64 {
    let half = available.map_or(limits::ROOM_BYTES_MAX, |bytes| bytes / 2);
    half.clamp(limits::ROOM_BYTES_MIN, limits::ROOM_BYTES_MAX)
}

/// Bytes of memory, as far as the files of Linux say.
fn available(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let meminfo = read(Path::new("/proc/meminfo")).unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|total| total.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let allowed = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be that of the host: then nothing is found but the root.
        Path::new(path)
            .ancestors()
            .filter_map(|group| {
                let group = group.strip_prefix("/").unwrap_or(group);
                // Without a limit it is the word `max`, or a number beyond all memory.
                read(&Path::new(root).join(group).join(file))?.trim().parse::<u64>().ok()
            })
            .min()
    });
    allowed.chain(total.map(|kib| kib << 10)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        1024 kB\nMemFree: 7 kB\n");

    #[test]
    fn the_narrowest_group_on_the_path_counts_or_the_machine() {
        let own = "/proc/self/cgroup";
        let v2 = |path: &str| format!("/sys/fs/cgroup{path}/memory.max");
        let v1 = |path: &str| format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes");
        let with = |files: &[(&str, &str)]| {
            available(|path| {
                let found = files.iter().find(|(name, _)| Path::new(name) == path);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[MEMINFO]), Some(1 << 20));
        let nested = (own, "0::/a/b\n");
        let (root, outer, inner) = (v2(""), v2("/a"), v2("/a/b"));
        assert_eq!(with(&[MEMINFO, nested, (&outer, "5000\n"), (&inner, "max\n")]), Some(5_000));
        assert_eq!(with(&[MEMINFO, nested, (&outer, "5000\n"), (&inner, "70\n")]), Some(70));
        assert_eq!(with(&[MEMINFO, nested, (&root, "4000\n")]), Some(4_000));
        assert_eq!(with(&[MEMINFO, nested, (&inner, "9999999\n")]), Some(1 << 20));
        let first = (own, "9:cpu,memory:/x/y\n3:pids:/\n0::/z\n");
        let (root, inner) = (v1(""), v1("/x/y"));
        assert_eq!(with(&[first, (&inner, "33554432\n"), (&root, "99999999\n")]), Some(33_554_432));
        let none = "9223372036854771712\n";
        assert_eq!(with(&[MEMINFO, first, (&inner, none), (&root, none)]), Some(1 << 20));
        assert_eq!(with(&[first, (&v1("/z"), "1\n"), (&v2("/z"), "77\n")]), Some(77));
    }
}
