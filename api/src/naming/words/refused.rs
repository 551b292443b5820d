//! What the registry's refusals are called in Nacos. The registry says why; the words need the name
//! of the service, which only the call knows.

use hyper::StatusCode;
use nacolet_registry::{Registry, RegistryError, Request};

use crate::http::failure::{Code, Failure};
use crate::naming::words::shapes::Grouped;
use crate::port::request::WriteError;
use crate::state::State;

/// The failure that a refused or lost registry write is told as.
pub(crate) fn failure(error: WriteError<RegistryError>, service: Grouped<'_>) -> Failure {
    failure_as(error, service, Code::SERVICE_NOT_EXIST)
}

/// Which code says that the service of this request is not there: Nacos has one for each place that
/// looks for it.
pub(crate) fn unknown_code(request: &Request) -> Code {
    match request {
        Request::Update { .. } => Code::INSTANCE_ERROR,
        Request::PutCluster { .. } => Code::SERVER_ERROR,
        Request::Register { .. }
        | Request::Publish { .. }
        | Request::Deregister { .. }
        | Request::Patch { .. }
        | Request::Beat { .. }
        | Request::CreateService { .. }
        | Request::UpdateService { .. }
        | Request::RemoveService { .. }
        | Request::MetadataBatch { .. }
        | Request::SetHealth { .. }
        | Request::SetSwitch { .. } => Code::SERVICE_NOT_EXIST,
    }
}

/// As [`failure`], with the code of [`unknown_code`].
pub(crate) fn failure_as(
    error: WriteError<RegistryError>,
    service: Grouped<'_>,
    unknown: Code,
) -> Failure {
    match error {
        WriteError::Refused(RegistryError::ServiceUnknown) => {
            Failure::invalid_as(unknown, format!("service {service} not found!"))
        }
        WriteError::Refused(error) => refusal(error, service),
        WriteError::Overloaded => WriteError::<Failure>::Overloaded.into(),
        WriteError::NoLeader { leader } => WriteError::<Failure>::NoLeader { leader }.into(),
        WriteError::StorageFull => WriteError::<Failure>::StorageFull.into(),
        WriteError::Unknown => WriteError::<Failure>::Unknown.into(),
        WriteError::Stopping => WriteError::<Failure>::Stopping.into(),
    }
}

fn refusal(error: RegistryError, service: Grouped<'_>) -> Failure {
    match error {
        RegistryError::ServiceUnknown => unknown_service(service),
        RegistryError::ServiceExists => Failure::invalid_as(
            Code::SERVICE_ALREADY_EXIST,
            format!("specified service {service} already exists!"),
        ),
        RegistryError::ServiceNotEmpty => Failure::invalid_as(
            Code::SERVICE_DELETE_FAILURE,
            format!(
                "Service {service} is not empty, can't be delete. Please unregister instance first"
            ),
        ),
        RegistryError::InstanceUnknown => {
            Failure::not_found(Code::RESOURCE_NOT_FOUND, "no matched ip found!")
        }
        // The words of Nacos begin with the code of an exception that nothing there expects.
        RegistryError::MixedKinds { persistent } => {
            let (is, wanted) =
                if persistent { ("persistent", "ephemeral") } else { ("ephemeral", "persistent") };
            let words = format!(
                "errCode: 400, errMsg: Current service {service} is {is} service, can't register \
                 {wanted} instance."
            );
            Failure::invalid_as(Code::SERVER_ERROR, words)
        }
        RegistryError::TooManyInstances
        | RegistryError::TooManyClusters
        | RegistryError::ClientFull => {
            Failure::invalid_as(Code::INSTANCE_ERROR, format!("{error}: {service}"))
        }
        RegistryError::NodeFull | RegistryError::TooManyServices => {
            Failure::unavailable(error.to_string())
        }
        RegistryError::Spec(error) => error.into(),
        RegistryError::Threshold
        | RegistryError::TooLong
        | RegistryError::CheckerRequest
        | RegistryError::CheckerUnsupported => {
            Failure::invalid_as(Code::SERVICE_METADATA_ERROR, error.to_string())
        }
        RegistryError::HealthChecked => Failure::invalid_as(
            Code::SERVER_ERROR,
            format!("health check is still working, service: {service}"),
        ),
        RegistryError::SwitchUnknown | RegistryError::SwitchValue => {
            Failure::invalid(error.to_string())
        }
        RegistryError::Closed => Failure::unavailable(error.to_string()),
    }
}

/// There is no such service.
pub(crate) fn unknown_service(service: Grouped<'_>) -> Failure {
    Failure::invalid_as(Code::SERVICE_NOT_EXIST, format!("service {service} not found!"))
}

/// Whether naming reads may be answered: not while the node starts, nor when an operator closed it
/// for reads (Nacos `TrafficReviseFilter`). An empty answer would make clients drop good addresses.
pub(crate) fn check_readable(state: &State, registry: &Registry) -> Result<(), Failure> {
    if !state.port.stage.is_open() {
        return Err(Failure::unavailable(
            "server is STARTING or stopping now, please try again later!",
        ));
    }
    if !registry.switches().serves_reads() {
        return Err(Failure::unavailable("server is closed for reads, please try again later!"));
    }
    Ok(())
}

/// 404 in the words of Nacos for something that is not there.
pub(crate) fn nothing_here(text: String) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, Code::RESOURCE_NOT_FOUND, text)
}
