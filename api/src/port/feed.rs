//! News from the core thread for one api thread: which configs and services changed since it last
//! looked. Names only, each once, so that a thread that is busy misses nothing and costs little;
//! when too many wait, the news is "look at everything".

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nacolet_lock as lock;
use nacolet_model::{ConfigKey, ServiceKey, limits};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<K> {
    /// These.
    Some(BTreeSet<K>),
    /// More than are worth naming.
    Everything,
}

impl<K: Ord> News<K> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Some(keys) if keys.is_empty())
    }

    fn add(&mut self, keys: impl IntoIterator<Item = K>) {
        if let Self::Some(known) = self {
            known.extend(keys);
            if known.len() > limits::FEED_KEYS_MAX {
                *self = Self::Everything;
            }
        }
    }
}

/// One kind of news.
#[derive(Debug)]
pub struct Channel<K> {
    news: Mutex<News<K>>,
    /// Whether anybody behind this feed waits for such news; else nothing is kept.
    wanted: AtomicBool,
    bell: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl<K> Default for Channel<K> {
    fn default() -> Self {
        Self {
            news: Mutex::new(News::Some(BTreeSet::new())),
            wanted: AtomicBool::new(false),
            bell: async_channel::bounded(1),
        }
    }
}

impl<K: Ord> Channel<K> {
    /// Says what changed. The change must be visible to readers already.
    pub fn tell(&self, keys: impl IntoIterator<Item = K>) {
        if self.wanted.load(Ordering::SeqCst) {
            self.lock().add(keys);
            self.ring();
        }
    }

    /// Says that anything may have changed.
    pub fn tell_everything(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            *self.lock() = News::Everything;
            self.ring();
        }
    }

    /// From now on there are news. Called before the state is read, so that a change is either seen
    /// by that read or told.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Waits for news and takes them.
    pub(crate) async fn hear(&self) -> News<K> {
        loop {
            // Both ends live here, so the channel is never closed.
            match self.bell.1.recv().await {
                Ok(()) | Err(_) => {}
            }
            let news = self.take();
            if !news.is_empty() {
                return news;
            }
        }
    }

    /// Takes what is there now.
    pub(crate) fn take(&self) -> News<K> {
        std::mem::replace(&mut *self.lock(), News::Some(BTreeSet::new()))
    }

    fn lock(&self) -> MutexGuard<'_, News<K>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // A full channel says it already.
        match self.bell.0.try_send(()) {
            Ok(()) | Err(_) => {}
        }
    }
}

/// The news of one api thread.
#[derive(Debug, Default)]
pub struct Feed {
    /// Configs whose content, or the choice of who sees which content, changed.
    pub configs: Channel<ConfigKey>,
    /// Services whose list of instances changed.
    pub services: Channel<ServiceKey>,
    /// Who waits for a lock and may try again.
    pub locks: Channel<lock::Notice>,
}

#[cfg(test)]
mod tests {
    use smol::future::block_on;

    use super::*;

    #[test]
    fn news_are_kept_once_each_from_when_they_are_wanted() {
        let channel = Channel::default();
        channel.tell([1]);
        channel.want();
        channel.tell([2, 3]);
        channel.tell([2]);
        assert_eq!(block_on(channel.hear()), News::Some([2, 3].into()));
        assert!(channel.take().is_empty());
    }

    #[test]
    fn beyond_the_limit_the_news_is_everything() {
        let channel = Channel::default();
        channel.want();
        channel.tell(0..limits::FEED_KEYS_MAX);
        assert!(matches!(channel.take(), News::Some(_)));
        channel.tell(0..=limits::FEED_KEYS_MAX);
        channel.tell([1]);
        assert_eq!(block_on(channel.hear()), News::Everything);
    }
}
