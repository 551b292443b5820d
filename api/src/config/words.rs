//! What the families of paths about configs share: what they call their parameters, and what a
//! publish or a removal says.

use nacolet_config::{
    Caller, ConfigType, Gray, GrayName, Inherit, KeyRef, Labels, Operator, Publish, Remove, Store,
    View,
};
use nacolet_model::{ConfigKey, DataId, WallTime, limits};

use crate::http::failure::{Code, Failure};
use crate::http::params::{Field, Fields, field};
use crate::route::ask::Ask;
use crate::state::State;

/// The version with a tag, where the call names one.
pub(crate) fn gray_of(params: &Fields) -> Result<Option<GrayName>, Failure> {
    params.text(field::TAG).map(|tag| tag_name(tag).map(GrayName::Tag)).transpose()
}

/// What a family of paths calls its parameters.
pub(crate) struct Words {
    pub(crate) user: Field,
    pub(crate) tags: Field,
    /// Whether a blank content is none at all.
    blank_is_missing: bool,
}

impl Words {
    pub(crate) const V1: Self =
        Self { user: field::SRC_USER_V1, tags: field::CONFIG_TAGS_V1, blank_is_missing: false };
    /// Of v2 and v3.
    pub(crate) const V2: Self =
        Self { user: field::SRC_USER, tags: field::CONFIG_TAGS, blank_is_missing: true };
}

/// The tag whose version is wanted, and the one under which the caller sees configs.
pub(crate) fn tags<T>(ask: &Ask<T>) -> (Option<&str>, Option<&str>) {
    let wanted = ask.params.text(field::TAG);
    let own = ask.header("vipserver-tag").filter(|tag| !tag.is_empty());
    (wanted, wanted.or(own))
}

/// A config as its caller sees it, unless that cannot be told yet.
pub(crate) fn view<'s>(
    state: &State,
    configs: &'s Store,
    key: &ConfigKey,
    caller: &Caller<'_>,
) -> Result<Option<View<'s>>, Failure> {
    let of = KeyRef::from(key);
    let view = configs.view(of.namespace, of.group, of.data_id, caller);
    state.settled(of, view.is_some())?;
    Ok(view)
}

/// The command of a publish call. A long content is hashed on a thread of its own.
pub(crate) async fn publish_of(
    state: &State,
    ask: Ask<()>,
    key: ConfigKey,
    words: &'static Words,
    seen_by: SeenBy,
) -> Result<Publish, Failure> {
    let at = state.now().1;
    let kept = kept_key(state, &ask.params, &key);
    let length = ask.params.raw(field::CONTENT).map_or(0, str::len);
    let publish = move || {
        let publish = publish(&ask, key, words, &kept, at)?;
        match seen_by(&ask)? {
            Some(gray) => Ok(publish.with_gray(gray)?),
            None => Ok(publish),
        }
    };
    if length > limits::INLINE_BYTES_MAX { smol::unblock(publish).await } else { publish() }
}

/// How a call says who sees what it publishes: `None` for everybody.
pub(crate) type SeenBy = fn(&Ask<()>) -> Result<Option<Gray>, Failure>;

/// By addresses in a header or by a tag, as in every version of Nacos.
pub(crate) fn by_beta_or_tag(ask: &Ask<()>) -> Result<Option<Gray>, Failure> {
    let beta_ips = list(ask.header("betaips").unwrap_or_default(), limits::BETA_IPS_MAX);
    if !beta_ips.is_empty() {
        return Ok(Some(Gray::Beta(beta_ips)));
    }
    ask.params.text(field::TAG).map(|tag| tag_name(tag).map(Gray::Tag)).transpose()
}

/// What the configs of clients that encrypt begin with (Nacos).
const CIPHER: &str = "cipher-";

/// The key of the encryption that is stored, for whoever edits an encrypted config and does not
/// know of it, as consoles do: without it no client can read the config again.
fn kept_key(state: &State, params: &Fields, key: &ConfigKey) -> Box<str> {
    let is_kept = key.data_id.as_str().starts_with(CIPHER)
        && params.text(field::ENCRYPTED_DATA_KEY).is_none();
    if !is_kept {
        return Box::default();
    }
    let of = KeyRef::from(key);
    let configs = state.configs();
    let config = configs.get(of.namespace, of.group, of.data_id);
    config.map(|config| config.encrypted_data_key().into()).unwrap_or_default()
}

fn publish(
    ask: &Ask<()>,
    key: ConfigKey,
    words: &Words,
    kept: &str,
    at: WallTime,
) -> Result<Publish, Failure> {
    let params = &ask.params;
    let content = params.present(field::CONTENT)?;
    if words.blank_is_missing && content.trim().is_empty() {
        return Err(Failure::missing(field::CONTENT.name()));
    }
    let operator = operator(ask, params.text(words.user))?;
    let publish = Publish::new(key, content.into(), operator, at)?;
    let inherit = Inherit {
        app_name: params.raw(field::APP_NAME).is_none(),
        tags: params.raw(words.tags).is_none(),
    };
    let text = |name| params.text_or(name, "").into();
    let labels = Labels {
        // Nacos stores `text` for whatever it does not know, nothing included.
        config_type: Some(ConfigType::from_text(params.text_or(field::TYPE, ""))),
        app_name: text(field::APP_NAME),
        desc: text(field::DESC),
        tags: list(params.text_or(words.tags, ""), limits::CONFIG_TAGS_MAX),
        use_: text(field::USE),
        effect: text(field::EFFECT),
        schema: text(field::SCHEMA),
        encrypted_data_key: params.text_or(field::ENCRYPTED_DATA_KEY, kept).into(),
    };
    let publish = publish.with_labels(labels, inherit)?;
    Ok(match ask.header("casmd5").map(str::trim).filter(|md5| !md5.is_empty()) {
        Some(md5) => publish.with_cas(md5),
        None => publish,
    })
}

/// The command of a remove call.
pub(crate) fn remove_of<T>(
    state: &State,
    ask: &Ask<T>,
    key: ConfigKey,
    words: &Words,
    gray: Option<GrayName>,
) -> Result<Remove, Failure> {
    let operator = operator(ask, ask.params.text(words.user))?;
    Ok(Remove { key, gray, operator, at: state.now().1 })
}

/// Who calls, for history: the user that is known, else the one that the call names.
pub(crate) fn operator<T>(ask: &Ask<T>, user: Option<&str>) -> Result<Operator, Failure> {
    let user = ask.user_name().or(user);
    let operator = Operator { user: user.unwrap_or_default().into(), ip: (*ask.ip).into() };
    operator.check()?;
    Ok(operator)
}

/// A checked tag (Nacos `ParamUtils.checkParam(tag)`).
pub(crate) fn tag_name(tag: &str) -> Result<Box<str>, Failure> {
    if DataId::check(tag).is_err() {
        let shown: String = tag.chars().take(limits::TAG_CHARS_MAX).collect();
        return Err(Failure::invalid(format!("invalid tag : {shown}")));
    }
    if tag.len() > limits::TAG_CHARS_MAX {
        let words = format!("too long tag, over {}", limits::TAG_CHARS_MAX);
        return Err(Failure::invalid_as(Code::PARAMETER_VALIDATE_ERROR, words));
    }
    Ok(tag.into())
}

/// The items of a comma list, without blanks; at most one more than there may be, which is then
/// refused as too many.
pub(crate) fn list(text: &str, max: usize) -> Vec<Box<str>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.take(max + 1).map(Into::into).collect()
}
