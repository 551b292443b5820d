//! Lock messages. `NACOS_LOCK` of Nacos 3.0 to 3.2 has no owner, and the end of a connection frees
//! none: clients rely on its time running out. What SDK 3.3 adds has owners, a queue and renewals,
//! and goes with its connection (`docs/nacos/grpc.md`, "Locks and AI"). So an owner is one of its
//! connection alone, whatever it calls itself.

use std::sync::Arc;

use hyper::body::Bytes;
use nacolet_lock as lock;
use nacolet_lock::{
    Answer, Command, Forgo, Free, Kind, Release, Renew, Stamp, Take, millis_at_most,
};
use nacolet_model::{Duration, limits};
use serde::{Deserialize, Serialize};

use crate::grpc::client::LockWait;
use crate::grpc::message::read::{Unread, request, text};
use crate::grpc::message::{Refusal, done, failed};
use crate::grpc::tell::locks;
use crate::grpc::tell::locks::kind_name;
use crate::grpc::zone::Asker;
use crate::http::failure::Failure;
use crate::http::json::object;

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Reentrant, Kind::NonReentrant];

/// The lock that a request names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LockInstance {
    key: Option<String>,
    /// Milliseconds; negative for as long as is usual.
    expired_time: Option<i64>,
    lock_type: Option<String>,
    /// From 3.3 on.
    owner: Option<String>,
    /// Milliseconds; none, and nothing above zero, for one that does not wait.
    #[serde(alias = "waitTimeMs")]
    wait_time: Option<i64>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LockWish {
    Acquire,
    Release,
    Renew,
    CancelWait,
}

/// `LockOperationRequest`
pub(crate) struct Operation {
    id: Option<String>,
    wish: LockWish,
    kind: Kind,
    key: Box<str>,
    /// None where the connection itself is the owner.
    owner: Option<Box<str>>,
    time: Duration,
    wait: Duration,
}

impl Operation {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! { Wire { lock_instance: LockInstance, lock_operation_enum: String, } }
        let Wire { request_id: id, lock_instance, lock_operation_enum } = object(json)?;
        let operation = Self::of(lock_instance.as_ref(), lock_operation_enum.as_deref());
        operation.map(|operation| Self { id: id.clone(), ..operation }).map_err(|refusal| {
            let operated = Operated { result: false, lock_result: None };
            Unread::Refused(failed(OPERATED, id.as_deref(), &refusal, operated))
        })
    }

    fn of(lock: Option<&LockInstance>, wish: Option<&str>) -> Result<Self, Refusal> {
        let lock = lock.ok_or(Failure::missing("lockInstance"))?;
        let kind =
            KINDS.into_iter().find(|kind| lock.lock_type.as_deref() == Some(kind_name(*kind)));
        let kind = kind.ok_or(Refusal::invalid("the lockType does not exist"))?;
        let key = text(lock.key.as_ref()).ok_or(Failure::missing("key"))?.into();
        let wish = match wish {
            Some("ACQUIRE") => LockWish::Acquire,
            Some("RELEASE") => LockWish::Release,
            Some("RENEW") => LockWish::Renew,
            Some("CANCEL_WAIT") => LockWish::CancelWait,
            // EXPIRE and CLEANUP_CONNECTION are for members alone.
            _ => return Err(Refusal::invalid("There is no Handler of such operations!")),
        };
        let is_timed = matches!(wish, LockWish::Acquire | LockWish::Renew);
        if is_timed && kind != Kind::Plain && lock.expired_time == Some(0) {
            return Err(Refusal::invalid("expiredTime must not be 0"));
        }
        let millis = |field: Option<i64>| field.and_then(|time| u64::try_from(time).ok());
        let time =
            millis(lock.expired_time).map_or(limits::LOCK_TIME_DEFAULT, Duration::from_millis);
        let wait = millis(lock.wait_time).map_or(Duration::ZERO, Duration::from_millis);
        let owner = lock.owner.as_deref().filter(|owner| !owner.is_empty());
        if owner.is_some_and(|owner| owner.len() > limits::LOCK_OWNER_BYTES_MAX) {
            return Err(Refusal::invalid("the owner of the lock is too long"));
        }
        let owner = owner.map(Box::from);
        Ok(Self { id: None, wish, kind, key, owner, time, wait })
    }

    /// Whether it is what Nacos 3.0 has already.
    fn is_first(&self) -> bool {
        let has_no_owner = self.owner.is_none() && self.wait.is_zero();
        self.kind == Kind::Plain
            && (self.wish == LockWish::Release || self.wish == LockWish::Acquire && has_no_owner)
    }

    /// What is asked of the locks, for this caller.
    fn command(&self, caller: &Caller) -> Result<Command, Refusal> {
        // The node sets it when it proposes the command.
        let stamp = Stamp::default();
        let Self { wish, kind, key, time, wait, .. } = self;
        if self.is_first() && *wish != LockWish::Acquire && caller.frees_all {
            return Ok(Command::Release(Release::new(key, stamp)?));
        }
        let (kind, key, owner) = (*kind, key.clone(), self.owner(caller));
        let connection = self.connection(caller);
        let millis = millis_at_most(*time, limits::LOCK_TIME_MAX);
        let command = match wish {
            LockWish::Acquire => {
                let wait_millis = millis_at_most(*wait, limits::LOCK_WAIT_MAX);
                Command::Take(Take { kind, key, owner, connection, millis, wait_millis, stamp })
            }
            LockWish::Release => Command::Free(Free { kind, key, owner, stamp }),
            LockWish::Renew => Command::Renew(Renew { kind, key, owner, millis, stamp }),
            LockWish::CancelWait => Command::Forgo(Forgo { kind, key, owner, connection, stamp }),
        };
        command.check().map_err(|invalid| Refusal::invalid(invalid.to_string()))?;
        Ok(command)
    }

    /// What is as Nacos 3.0 has it belongs to no connection.
    fn connection(&self, caller: &Caller) -> u64 {
        if self.is_first() { 0 } else { caller.connection }
    }

    /// Whoever says of itself that it is another one is another one of its own connection.
    fn owner(&self, caller: &Caller) -> Box<str> {
        let name = self.owner.as_deref().unwrap_or_default();
        lock::owner(&caller.account, self.connection(caller), name)
    }
}

/// Who asks.
struct Caller {
    /// The user, and where there are none the address; one with many clients behind it counts by
    /// connection.
    account: Box<str>,
    connection: u64,
    /// It frees locks of the first kind whoever took them: anybody where there are no users, as in
    /// Nacos, and otherwise administrators.
    frees_all: bool,
}

impl Caller {
    fn of(from: &Asker<'_>) -> Self {
        let Asker { zone, client, user, .. } = from;
        let account = match user.as_deref() {
            Some(login) => login.name().into(),
            None if zone.state.settings.is_shared(&client.ip) => {
                format!("{}/{:x}", client.ip, client.id.as_u64()).into()
            }
            None => (*client.ip).into(),
        };
        let frees_all = zone.state.access.check_admin(user.as_deref()).is_ok();
        Self { account, connection: client.id.as_u64(), frees_all }
    }
}

const OPERATED: &str = "LockOperationResponse";

/// `LockOperationResponse`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operated {
    result: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_result: Option<LockResult>,
}

/// `LockResult` of 3.3.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LockResult {
    success: bool,
    reentrant_count: u32,
    /// -1 for one that does not wait.
    wait_position: i64,
    error_message: &'static str,
}

impl LockResult {
    fn of(answer: &Answer, wish: LockWish) -> Self {
        let Answer { done, count, position, .. } = *answer;
        let error_message = match wish {
            _ if done || position.is_some() => "",
            LockWish::Release => "Unlock failed: not held by this owner",
            LockWish::Renew => "Renew failed: not held by this owner",
            LockWish::Acquire | LockWish::CancelWait => "Lock is held by another owner",
        };
        let wait_position = position.map_or(-1, i64::from);
        Self { success: done, reentrant_count: count, wait_position, error_message }
    }
}

pub(crate) async fn operate(from: &Asker<'_>, request: Operation) -> Bytes {
    let id = request.id.as_deref();
    match operated(from, &request).await {
        Ok(answer) => {
            let is_first = request.is_first();
            let lock_result = (!is_first).then(|| LockResult::of(&answer, request.wish));
            done(OPERATED, id, Operated { result: answer.done, lock_result })
        }
        Err(refusal) => {
            failed(OPERATED, id, &refusal, Operated { result: false, lock_result: None })
        }
    }
}

async fn operated(from: &Asker<'_>, request: &Operation) -> Result<Answer, Refusal> {
    let Asker { zone, client, .. } = from;
    let caller = Caller::of(from);
    let command = request.command(&caller)?;
    let Some(_permit) = zone.state.enter() else { return Err(Refusal::OVERLOADED) };
    if request.is_first() {
        return Ok(zone.state.write_lock(command).await?);
    }
    let owner = Arc::from(request.owner(&caller));
    let wait = LockWait { kind: request.kind, key: (*request.key).into(), owner };
    let until = zone.state.now().0 + request.wait.min(limits::LOCK_WAIT_MAX);
    if request.wish == LockWish::Acquire {
        client.has_locks.set(true);
        if !request.wait.is_zero() {
            // Before it is known whether it waits: it may be told that it is its turn before that.
            zone.feed.locks.want();
            locks::wait(zone, client, wait.clone(), limits::LOCK_TIME_DEFAULT, until);
        }
    }
    let outcome = zone.state.write_lock(command).await;
    match &outcome {
        Ok(Answer { position: Some(_), rest, .. }) => {
            locks::wait(zone, client, wait, Duration::from_millis(*rest), until);
        }
        // It waits on, or is not known to.
        Err(_) if request.wish != LockWish::Acquire => {}
        _ if matches!(request.wish, LockWish::Acquire | LockWish::CancelWait) => {
            locks::forget(client, &wait);
        }
        _ => {}
    }
    Ok(outcome?)
}
