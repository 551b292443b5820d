//! Lock messages (Nacos 3.x). Nobody owns a lock, and the end of a connection frees none: clients rely on
//! its time running out.

use hyper::body::Bytes;
use nacolet_lock::{Acquire, Command, Release, Stamp};
use nacolet_model::{Duration, limits};
use serde::{Deserialize, Serialize};

use super::Zone;
use super::config::{request, text};
use super::dispatch::Unread;
use super::message::{Refusal, done, failed};
use crate::json::object;
use crate::status::Failure;

/// The one type of lock that there is.
const NACOS_LOCK: &str = "NACOS_LOCK";

/// The lock that a request names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Instance {
    key: Option<String>,
    /// Milliseconds; negative for as long as is usual.
    expired_time: Option<i64>,
    lock_type: Option<String>,
}

/// `LockOperationRequest`
pub(super) struct Operation {
    id: Option<String>,
    command: Command,
}

impl Operation {
    pub(super) fn read(json: &[u8]) -> Result<Self, Unread> {
        request! { Wire { lock_instance: Instance, lock_operation_enum: String, } }
        let Wire { request_id: id, lock_instance, lock_operation_enum } = object(json)?;
        match command(lock_instance.as_ref(), lock_operation_enum.as_deref()) {
            Ok(command) => Ok(Self { id, command }),
            Err(refusal) => {
                let operated = Operated { result: false };
                Err(Unread::Refused(failed(OPERATED, id.as_deref(), &refusal, operated)))
            }
        }
    }
}

const OPERATED: &str = "LockOperationResponse";

fn command(lock: Option<&Instance>, operation: Option<&str>) -> Result<Command, Refusal> {
    let lock = lock.ok_or(Failure::missing("lockInstance"))?;
    if lock.lock_type.as_deref() != Some(NACOS_LOCK) {
        return Err(Refusal::invalid("the lockType does not exist"));
    }
    let key = text(lock.key.as_ref()).ok_or(Failure::missing("key"))?;
    // The node sets it when it proposes the command.
    let stamp = Stamp::default();
    match operation {
        Some("ACQUIRE") => {
            let millis = lock.expired_time.and_then(|time| u64::try_from(time).ok());
            let time = millis.map_or(limits::LOCK_TIME_DEFAULT, Duration::from_millis);
            Ok(Command::Acquire(Acquire::new(key, time, stamp)?))
        }
        Some("RELEASE") => Ok(Command::Release(Release::new(key, stamp)?)),
        // Nacos has the word EXPIRE and no handler for it either.
        _ => Err(Refusal::invalid("There is no Handler of such operations!")),
    }
}

/// `LockOperationResponse`
#[derive(Serialize)]
struct Operated {
    result: bool,
}

pub(super) async fn operate(zone: &Zone, request: Operation) -> Bytes {
    let Operation { id, command } = request;
    let outcome = match zone.state.enter() {
        Some(_permit) => zone.state.write_lock(command).await.map_err(Refusal::from),
        None => Err(Refusal::OVERLOADED),
    };
    match outcome {
        Ok(result) => done(OPERATED, id.as_deref(), Operated { result }),
        Err(refusal) => failed(OPERATED, id.as_deref(), &refusal, Operated { result: false }),
    }
}
