//! The words after `cargo ci sim`: read, and written again, so that a failing seed can say how to
//! see it once more under everything that was in force.

use nacolet_model::Duration;

use crate::planted::Planted;
use crate::run;
use crate::story::Extent;

/// How the simulator is used.
pub const USAGE: &str = "\
usage: cargo ci sim [--seeds N] [--from S] [--nodes V] [--twice] [--clients-only]
       cargo ci sim --from S --story [--around SECONDS] [--nodes V] [--clients-only]
       cargo ci sim --planted [--seeds N] [--from S] [--only NAME] [--clients-only] [--story]

  --seeds    how many seeds (300, with --story 1; with --planted at most so many per bug, 1000)
  --from     the first seed (1)
  --nodes    voters at the beginning of every run; drawn by the seed when absent
  --twice    runs each seed twice and compares everything that happened
  --planted  plants each known bug and prints how many are found
  --only     plants this one alone
  --clients-only
             looks away from the inside of Raft: what could clients and operators have seen?
  --story    tells what happened in a seed that fails, or in one that was asked for alone: one line
             per event, the last 200 before the failure or the end
  --around   tells everything so many seconds before the failure or the end instead
";

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many seeds.
    pub seeds: Option<u64>,
    /// The first seed.
    pub from: Option<u64>,
    /// Voters at the beginning; drawn by the seed when absent.
    pub nodes: Option<u64>,
    /// Plants bugs and counts those that are found.
    pub planted: bool,
    /// Only this bug.
    pub only: Option<Planted>,
    /// Runs each seed twice.
    pub twice: bool,
    /// Looks away from the inside of Raft.
    pub clients_only: bool,
    /// Tells what happened.
    pub story: bool,
    /// So many seconds before the end.
    pub around: Option<u64>,
}

impl Options {
    /// What these words ask for; none when they are no options.
    #[must_use]
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut number = || words.next()?.parse().ok();
            match word {
                "--seeds" => options.seeds = Some(number()?),
                "--from" => options.from = Some(number()?),
                "--nodes" => options.nodes = Some(number()?),
                "--around" => options.around = Some(number()?),
                "--clients-only" => options.clients_only = true,
                "--twice" => options.twice = true,
                "--planted" => options.planted = true,
                "--story" => options.story = true,
                "--only" => options.only = Some(Planted::parse(words.next()?)?),
                _ => return None,
            }
        }
        // A bug is planted where bugs are, seconds are those of a story, and a bug is found or not.
        let is_odd = (options.only.is_some() && !options.planted)
            || (options.around.is_some() && !options.story)
            || (options.twice && options.planted);
        (!is_odd).then_some(options)
    }

    /// The words that ask for the same.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        // Every field by its name: an option that is new and not written again does not compile.
        let Self { seeds, from, nodes, planted, only, twice, clients_only, story, around } = *self;
        let number = |name: &str, value: Option<u64>| {
            value.map_or_else(Vec::new, |value| vec![name.to_owned(), value.to_string()])
        };
        let flag = |name: &str, is_set: bool| {
            if is_set { vec![name.to_owned()] } else { Vec::new() }
        };
        let only =
            only.map_or_else(Vec::new, |bug| vec!["--only".to_owned(), bug.name().to_owned()]);
        [
            flag("--planted", planted),
            only,
            number("--seeds", seeds),
            number("--from", from),
            number("--nodes", nodes),
            flag("--twice", twice),
            flag("--clients-only", clients_only),
            flag("--story", story),
            number("--around", around),
        ]
        .concat()
    }

    /// The command that runs one of these seeds again, with `bug` where one was planted.
    #[must_use]
    pub fn replay(&self, seed: u64, bug: Option<Planted>) -> String {
        let one =
            Self { seeds: Some(1), from: Some(seed), planted: bug.is_some(), only: bug, ..*self };
        format!("cargo ci sim {}", one.words().join(" "))
    }

    /// How each seed is run.
    #[must_use]
    pub fn of_run(&self, planted: Option<Planted>) -> run::Options {
        run::Options { voters: self.nodes, planted, clients_only: self.clients_only }
    }

    /// How much of a story is printed.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.around.map_or(Extent::Last, |seconds| Extent::Around(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    fn some_number(prng: &mut Prng) -> Option<u64> {
        prng.chance(1, 2).then(|| prng.next_u64() >> prng.below(64))
    }

    fn some_options(prng: &mut Prng) -> Options {
        let planted = prng.chance(1, 2);
        let story = prng.chance(1, 2);
        let bug = Planted::ALL[usize::try_from(prng.below(Planted::ALL.len() as u64)).unwrap()];
        Options {
            seeds: some_number(prng),
            from: some_number(prng),
            nodes: some_number(prng),
            planted,
            only: (planted && prng.chance(1, 2)).then_some(bug),
            twice: !planted && prng.chance(1, 2),
            clients_only: prng.chance(1, 2),
            story,
            around: if story { some_number(prng) } else { None },
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut prng = Prng::new(16);
        for _ in 0..10_000 {
            let options = some_options(&mut prng);
            let words = options.words();
            let read = Options::parse(words.iter().map(String::as_str));
            assert_eq!(read, Some(options), "{words:?}");
        }
    }

    #[test]
    fn a_replay_runs_one_seed_as_it_was_run() {
        let mut prng = Prng::new(7);
        for _ in 0..10_000 {
            let (options, seed) = (some_options(&mut prng), prng.next_u64());
            let bug = options.planted.then(|| options.only.unwrap_or(Planted::NoTombs));
            let command = options.replay(seed, bug);
            let words = command.strip_prefix("cargo ci sim ").expect("it is for the same program");
            let again = Options::parse(words.split(' ')).expect("it can be read");
            assert_eq!((again.seeds, again.from), (Some(1), Some(seed)), "{command}");
            assert_eq!(again.of_run(again.only), options.of_run(bug), "{command}");
            let whole =
                Options { seeds: options.seeds, from: options.from, only: options.only, ..again };
            assert_eq!(whole, options, "{command}");
        }
    }

    #[test]
    fn the_usage_names_every_option_and_no_other() {
        let all = Options {
            seeds: Some(1),
            from: Some(1),
            nodes: Some(1),
            planted: true,
            only: Some(Planted::NoTombs),
            twice: true,
            clients_only: true,
            story: true,
            around: Some(1),
        };
        let words = all.words();
        let options: Vec<&String> = words.iter().filter(|word| word.starts_with("--")).collect();
        for option in &options {
            assert!(USAGE.contains(option.as_str()), "{option}");
        }
        let parts = USAGE.split(|one: char| one != '-' && !one.is_ascii_lowercase());
        for named in parts.filter(|part| part.starts_with("--")) {
            assert!(options.iter().any(|option| *option == named), "{named}");
        }
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        for words in [
            "--seeds",
            "--seeds many",
            "--only no-tombs",
            "--planted --only nothing",
            "--around 3",
            "--planted --twice",
            "seeds",
        ] {
            assert_eq!(Options::parse(words.split(' ')), None, "{words}");
        }
        assert_eq!(Options::parse([]), Some(Options::default()));
    }
}
