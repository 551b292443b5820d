//! Every parameter that is no identifier, on one page. A handler can read these and nothing else: a
//! [`Field`] is made here alone, and the compiler refuses one with the name of an identifier.

use super::Id;

/// The name of a parameter that says nothing about what a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field(&'static str);

impl Field {
    const fn new(name: &'static str) -> Self {
        let mut index = 0;
        while index < Id::ALL.len() {
            assert!(!is_same(Id::ALL[index].0, name), "an identifier is read by decoders only");
            index += 1;
        }
        Self(name)
    }

    /// The name.
    pub(crate) const fn name(self) -> &'static str {
        self.0
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

macro_rules! fields {
    ($($field:ident = $name:literal;)*) => {
        $(pub(crate) const $field: Field = Field::new($name);)*
    };
}

fields! {
    ACCESS_TOKEN = "accessToken";
    ACTION = "action";
    ADDRESS = "address";
    ADDRESSES = "addresses";
    AGGREGATION = "aggregation";
    ALL = "all";
    APP = "app";
    APP_NAME = "appName";
    BEAT = "beat";
    BETA = "beta";
    CHECK_NAMESPACE_ID_EXIST = "checkNamespaceIdExist";
    CHECK_PORT = "checkPort";
    CLIENT_ID = "clientId";
    CLUSTER = "cluster";
    CLUSTER_NAME = "clusterName";
    CLUSTERS = "clusters";
    CONFIG_DETAIL_V1 = "config_detail";
    CONFIG_TAGS_V1 = "config_tags";
    CONFIG_DETAIL = "configDetail";
    CONFIG_TAGS = "configTags";
    CONNECTION_ID = "connectionId";
    CONSISTENCY = "consistency";
    CONSISTENCY_TYPE = "consistencyType";
    CONTENT = "content";
    COUNT = "count";
    DEL_TYPE = "delType";
    DESC = "desc";
    DETAIL = "detail";
    EFFECT = "effect";
    ENABLE = "enable";
    ENABLED = "enabled";
    ENABLED_ONLY = "enabledOnly";
    ENCRYPTED_DATA_KEY = "encryptedDataKey";
    ENTRY = "entry";
    EPHEMERAL = "ephemeral";
    EXPORT = "export";
    EXPORT_V2 = "exportV2";
    EXPR = "expr";
    GRAY_MATCH_RULE_EXP = "grayMatchRuleExp";
    GRAY_NAME = "grayName";
    GRAY_PRIORITY = "grayPriority";
    GRAY_RULE_EXP = "grayRuleExp";
    GRAY_TYPE = "grayType";
    GRAY_VERSION = "grayVersion";
    GROUP_NAME_PARAM = "groupNameParam";
    HAS_IP_COUNT = "hasIpCount";
    HEALTH_CHECKER = "healthChecker";
    HEALTHY = "healthy";
    HEALTHY_ONLY = "healthyOnly";
    HEART_BEAT = "heartBeat";
    ID = "id";
    IGNORE_EMPTY_SERVICE = "ignoreEmptyService";
    INSTANCE = "instance";
    INSTANCES = "instances";
    IP = "ip";
    KEYWORD = "keyword";
    LABEL = "label";
    LANGUAGE = "language";
    LOADER_FACTOR = "loaderFactor";
    LOCK_KEY = "lockKey";
    LOG_LEVEL = "logLevel";
    LOG_NAME = "logName";
    MAX_AGGR_COUNT = "maxAggrCount";
    MAX_AGGR_SIZE = "maxAggrSize";
    MAX_SIZE = "maxSize";
    METADATA = "metadata";
    NAMESPACE_DESC = "namespaceDesc";
    NAMESPACE_NAME = "namespaceName";
    NAMESPACE_SHOW_NAME = "namespaceShowName";
    NEW_PASSWORD = "newPassword";
    NID = "nid";
    NODE = "node";
    OLD_PASSWORD = "oldPassword";
    ONLY_STATUS = "onlyStatus";
    PAGE_NO = "pageNo";
    PAGE_SIZE = "pageSize";
    PASSWORD = "password";
    POLICY = "policy";
    PORT = "port";
    PROTECT_THRESHOLD = "protectThreshold";
    QUOTA = "quota";
    REDIRECT_ADDRESS = "redirectAddress";
    SAMPLE_TIME = "sampleTime";
    SCHEMA = "schema";
    SEARCH = "search";
    SELECTOR = "selector";
    SERVICE_NAME_PARAM = "serviceNameParam";
    SHOW = "show";
    SQL = "sql";
    SRC_USER_V1 = "src_user";
    SRC_USER = "srcUser";
    STATE = "state";
    TAG = "tag";
    TYPE = "type";
    TYPES = "types";
    UDP_PORT = "udpPort";
    USE = "use";
    USE_INSTANCE_PORT_FOR_CHECK = "useInstancePort4Check";
    VALID = "valid";
    VALUE = "value";
    WEIGHT = "weight";
    WITH_INSTANCES = "withInstances";
}
