//! Who is connected over gRPC, and what for: asked of the threads that hold the connections, since
//! nobody else knows. Each answers from what it has, so nothing is kept twice for the few who look.
//! [`State::here`](crate::state::State::here) adds who subscribes over UDP and polls,
//! [`State::everywhere`](crate::state::State::everywhere) what the other members find.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nacolet_model::limits;

use crate::http::failure::Failure;
use crate::port::who::{Connected, Sought};

/// A question to one thread.
#[derive(Debug)]
pub(crate) struct WhoQuestion {
    pub(crate) sought: Arc<Sought>,
    pub(crate) answer: async_channel::Sender<Vec<Connected>>,
}

/// The ways to the threads.
#[derive(Debug, Default)]
pub(crate) struct Who(Mutex<Vec<async_channel::Sender<WhoQuestion>>>);

impl Who {
    /// One more thread answers questions.
    pub(crate) fn join(&self) -> async_channel::Receiver<WhoQuestion> {
        let (sender, questions) = async_channel::bounded(limits::WHO_QUESTIONS_MAX);
        self.threads().push(sender);
        questions
    }

    fn threads(&self) -> MutexGuard<'_, Vec<async_channel::Sender<WhoQuestion>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every thread; how many answers are to come, each through the same channel.
    pub(crate) fn ask(
        &self,
        sought: Sought,
    ) -> Result<async_channel::Receiver<Vec<Connected>>, Failure> {
        let sought = Arc::new(sought);
        let mut threads = self.threads();
        threads.retain(|thread| !thread.is_closed());
        let (answer, answers) = async_channel::bounded(threads.len().max(1));
        for thread in &*threads {
            let question = WhoQuestion { sought: Arc::clone(&sought), answer: answer.clone() };
            if thread.try_send(question).is_err() {
                return Err(Failure::unavailable("too many look at who is connected"));
            }
        }
        Ok(answers)
    }
}
