package interop;

import static interop.CoreCases.refused;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.unique;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.AbstractListener;
import com.alibaba.nacos.api.config.model.ConfigBasicInfo;
import com.alibaba.nacos.api.config.model.ConfigCloneInfo;
import com.alibaba.nacos.api.config.model.ConfigDetailInfo;
import com.alibaba.nacos.api.config.model.ConfigGrayInfo;
import com.alibaba.nacos.api.config.model.ConfigHistoryBasicInfo;
import com.alibaba.nacos.api.config.model.ConfigHistoryDetailInfo;
import com.alibaba.nacos.api.config.model.ConfigListenerInfo;
import com.alibaba.nacos.api.config.model.SameConfigPolicy;
import com.alibaba.nacos.api.model.Page;
import com.alibaba.nacos.common.utils.MD5Utils;
import com.alibaba.nacos.maintainer.client.config.ConfigMaintainerService;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;

/** Every method of the service for configs; each works on entries of its own. */
final class ConfigCases {
    static final String GROUP = "DEFAULT_GROUP";
    static final String PUBLIC = "public";

    private final String server;

    ConfigCases(String server) {
        this.server = server;
    }

    void addTo(Calls<ConfigMaintainerService> calls) {
        addReads(calls);
        addPublishes(calls);
        addDeletes(calls);
        addLists(calls);
        addSearches(calls);
        addBeta(calls);
        addHistory(calls);
        addListeners(calls);
        addRest(calls);
    }

    /** A namespace that no other case uses, with configs a and b in the group and one in another. */
    private static String filled(ConfigMaintainerService service) throws Exception {
        String space = unique("cfg");
        for (String id : List.of("a", "b")) {
            service.publishConfig(id, GROUP, space, "content of " + id, "app-" + id, "me",
                    "tag-" + id, "about " + id, "text");
        }
        service.publishConfig("a", "OTHER", space, "x: 1", null, null, null, null, "yaml");
        return space;
    }

    private static String names(Page<ConfigBasicInfo> page) {
        equal(page.getTotalCount(), page.getPageItems().size(), "total");
        equal(page.getPageNumber(), 1, "page");
        return page.getPageItems().stream().map(one -> one.getGroupName() + "/" + one.getDataId())
                .sorted().collect(Collectors.joining(" "));
    }

    private static void content(ConfigDetailInfo found, String content) throws Exception {
        equal(found.getContent(), content, "content");
        equal(found.getMd5(), MD5Utils.md5Hex(content, "UTF-8"), "md5");
        check(found.getId() > 0, "id " + found.getId());
        check(found.getCreateTime() > 1_600_000_000_000L, "created " + found.getCreateTime());
        check(found.getModifyTime() >= found.getCreateTime(), "modified");
    }

    private static void addReads(Calls<ConfigMaintainerService> calls) {
        calls.call("getConfig(String)", service -> {
            String id = unique("read");
            service.publishConfig(id, "one");
            content(service.getConfig(id), "one");
        });
        calls.call("getConfig(String,String)", service -> {
            String id = unique("read");
            service.publishConfig(id, "G2", "two");
            content(service.getConfig(id, "G2"), "two");
            refused(404, () -> service.getConfig(id));
        });
        calls.call("getConfig(String,String,String)", service -> {
            String space = filled(service);
            ConfigDetailInfo found = service.getConfig("a", GROUP, space);
            content(found, "content of a");
            equal(found.getDataId(), "a", "dataId");
            equal(found.getGroupName(), GROUP, "group");
            equal(found.getNamespaceId(), space, "namespace");
            equal(found.getAppName(), "app-a", "app");
            equal(found.getDesc(), "about a", "description");
            equal(found.getConfigTags(), "tag-a", "tags");
            equal(found.getType(), "text", "type");
            refused(404, () -> service.getConfig("absent", GROUP, space));
        });
    }

    private static void addPublishes(Calls<ConfigMaintainerService> calls) {
        calls.call("publishConfig(String,String)", service -> {
            String id = unique("put");
            equal(service.publishConfig(id, "first"), true, "published");
            equal(service.publishConfig(id, "second"), true, "published again");
            content(service.getConfig(id), "second");
        });
        calls.call("publishConfig(String,String,String)", service -> {
            String id = unique("put");
            equal(service.publishConfig(id, "G3", "three"), true, "published");
            content(service.getConfig(id, "G3"), "three");
        });
        calls.call("publishConfig(String,String,String,String)", service -> {
            String id = unique("put");
            equal(service.publishConfig(id, GROUP, "spaceless", "four\n\u00e9"), true, "published");
            content(service.getConfig(id, GROUP, "spaceless"), "four\n\u00e9");
        });
        calls.call("publishConfig(String,String,String,String,String)", service -> {
            String id = unique("put");
            equal(service.publishConfig(id, GROUP, PUBLIC, "five", "said"), true, "published");
            equal(service.getConfig(id).getDesc(), "said", "description");
        });
        calls.call("publishConfig(String,String,String,String,String,String)", service -> {
            String id = unique("put");
            equal(service.publishConfig(id, GROUP, PUBLIC, "{}", "said", "json"), true, "published");
            equal(service.getConfig(id).getType(), "json", "type");
        });
        calls.call("publishConfig(String,String,String,String,String,String,String,String,String)",
                service -> {
                    String id = unique("put");
                    equal(service.publishConfig(id, GROUP, PUBLIC, "<a/>", "app", "me", "t1,t2",
                            "said", "xml"), true, "published");
                    ConfigDetailInfo found = service.getConfig(id);
                    content(found, "<a/>");
                    equal(found.getAppName(), "app", "app");
                    equal(found.getConfigTags(), "t1,t2", "tags");
                    equal(found.getType(), "xml", "type");
                });
        calls.call("updateConfigMetadata(String,String,String,String,String)", service -> {
            String space = filled(service);
            equal(service.updateConfigMetadata("a", GROUP, space, "new words", "n1,n2"), true, "");
            ConfigDetailInfo found = service.getConfig("a", GROUP, space);
            content(found, "content of a");
            equal(found.getDesc(), "new words", "description");
            equal(found.getConfigTags(), "n1,n2", "tags");
        });
    }

    private static void addDeletes(Calls<ConfigMaintainerService> calls) {
        calls.call("deleteConfig(String)", service -> {
            String id = unique("del");
            service.publishConfig(id, "x");
            equal(service.deleteConfig(id), true, "deleted");
            refused(404, () -> service.getConfig(id));
        });
        calls.call("deleteConfig(String,String)", service -> {
            String id = unique("del");
            service.publishConfig(id, "GD", "x");
            equal(service.deleteConfig(id, "GD"), true, "deleted");
            refused(404, () -> service.getConfig(id, "GD"));
        });
        calls.call("deleteConfig(String,String,String)", service -> {
            String space = filled(service);
            equal(service.deleteConfig("a", GROUP, space), true, "deleted");
            equal(names(service.listConfigs(space)), "DEFAULT_GROUP/b OTHER/a", "left");
            equal(service.deleteConfig("a", GROUP, space), true, "what is gone stays gone");
        });
        calls.call("deleteConfigs(List)", service -> {
            String space = filled(service);
            List<Long> ids = service.listConfigs("", GROUP, space).getPageItems().stream()
                    .map(ConfigBasicInfo::getId).collect(Collectors.toList());
            equal(ids.size(), 2, "ids");
            equal(service.deleteConfigs(ids), true, "deleted");
            equal(names(service.listConfigs(space)), "OTHER/a", "left");
        });
    }

    private static void addLists(Calls<ConfigMaintainerService> calls) {
        calls.call("listConfigs(String)", service -> {
            Page<ConfigBasicInfo> page = service.listConfigs(filled(service));
            equal(names(page), "DEFAULT_GROUP/a DEFAULT_GROUP/b OTHER/a", "all");
            equal(page.getPagesAvailable(), 1, "pages");
        });
        calls.call("listConfigs(String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.listConfigs("a", "", space)), "DEFAULT_GROUP/a OTHER/a", "by id");
            equal(names(service.listConfigs("a", GROUP, space)), "DEFAULT_GROUP/a", "by key");
        });
        calls.call("listConfigs(String,String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.listConfigs("", "", space, "yaml")), "OTHER/a", "by type");
        });
        calls.call("listConfigs(String,String,String,String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.listConfigs("", "", space, null, "tag-b", null)),
                    "DEFAULT_GROUP/b", "by tag");
            equal(names(service.listConfigs("", "", space, null, null, "app-a")),
                    "DEFAULT_GROUP/a", "by app");
        });
        calls.call("listConfigs(String,String,String,String,String,String,int,int)", service -> {
            String space = filled(service);
            Page<ConfigBasicInfo> page = service.listConfigs("", "", space, null, null, null, 2, 2);
            equal(page.getTotalCount(), 3, "total");
            equal(page.getPageNumber(), 2, "page");
            equal(page.getPagesAvailable(), 2, "pages");
            equal(page.getPageItems().size(), 1, "items");
        });
    }

    private static void addSearches(Calls<ConfigMaintainerService> calls) {
        calls.call("searchConfigs(String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.searchConfigs("", "THE", space)), "OTHER/a", "part of a group");
        });
        calls.call("searchConfigs(String,String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.searchConfigs("a", "", space, "yaml")), "OTHER/a", "by type");
        });
        calls.call("searchConfigs(String,String,String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.searchConfigs("", "", space, "tent of", null)),
                    "DEFAULT_GROUP/a DEFAULT_GROUP/b", "by content");
        });
        calls.call("searchConfigs(String,String,String,String,String,String,String)", service -> {
            String space = filled(service);
            equal(names(service.searchConfigs("", "", space, null, null, "tag-a", "app-a")),
                    "DEFAULT_GROUP/a", "by tag and app");
        });
        calls.call("searchConfigs(String,String,String,String,String,String,String,int,int)",
                service -> {
                    String space = filled(service);
                    Page<ConfigBasicInfo> page =
                            service.searchConfigs("", "", space, null, null, null, null, 3, 1);
                    equal(page.getTotalCount(), 3, "total");
                    equal(page.getPagesAvailable(), 3, "pages");
                    equal(page.getPageItems().size(), 1, "items");
                });
        calls.call("searchConfigByDetails(String,String,String,String,String,String,String,String,"
                + "int,int)", service -> {
                    String space = filled(service);
                    ConfigBasicInfo found = service.searchConfigByDetails("b", GROUP, space,
                            "accurate", null, null, null, null, 1, 10).getPageItems().get(0);
                    equal(found.getDataId(), "b", "dataId");
                    equal(found.getGroupName(), GROUP, "group");
                    equal(found.getNamespaceId(), space, "namespace");
                    equal(found.getAppName(), "app-b", "app");
                    equal(found.getType(), "text", "type");
                    check(found.getId() > 0, "id");
                });
        calls.call("fillAllPattern(String)",
                service -> equal(service.fillAllPattern("x"), "*x*", "pattern"));
    }

    private static void publishBeta(ConfigMaintainerService service, String id, String group,
            String space) throws Exception {
        equal(service.publishBetaConfig(id, group, space, "beta", "app", "me", "t", "said", "text",
                "10.1.1.1,10.1.1.2"), true, "published");
    }

    private static void addBeta(Calls<ConfigMaintainerService> calls) {
        calls.call("publishBetaConfig(String,String,String,String,String,String,String,String,"
                + "String,String)", service -> {
                    String space = filled(service);
                    publishBeta(service, "a", GROUP, space);
                    content(service.getConfig("a", GROUP, space), "content of a");
                    equal(service.queryBeta("a", GROUP, space).getContent(), "beta", "beta");
                });
        calls.call("stopBeta(String,String)", service -> {
            String id = unique("beta");
            service.publishConfig(id, "real");
            publishBeta(service, id, GROUP, PUBLIC);
            equal(service.stopBeta(id, GROUP), true, "stopped");
            refused(404, () -> service.queryBeta(id, GROUP));
        });
        calls.call("stopBeta(String,String,String)", service -> {
            String space = filled(service);
            publishBeta(service, "a", GROUP, space);
            equal(service.stopBeta("a", GROUP, space), true, "stopped");
            refused(404, () -> service.queryBeta("a", GROUP, space));
        });
        calls.call("queryBeta(String,String)", service -> {
            String id = unique("beta");
            service.publishConfig(id, "real");
            publishBeta(service, id, GROUP, PUBLIC);
            gray(service.queryBeta(id, GROUP), id, PUBLIC);
        });
        calls.call("queryBeta(String,String,String)", service -> {
            String space = filled(service);
            publishBeta(service, "a", GROUP, space);
            gray(service.queryBeta("a", GROUP, space), "a", space);
        });
    }

    private static void gray(ConfigGrayInfo found, String id, String space) throws Exception {
        equal(found.getDataId(), id, "dataId");
        equal(found.getNamespaceId(), space, "namespace");
        equal(found.getContent(), "beta", "content");
        equal(found.getMd5(), MD5Utils.md5Hex("beta", "UTF-8"), "md5");
        equal(found.getGrayName(), "beta", "name");
        check(found.getGrayRule().contains("10.1.1.1,10.1.1.2"), found.getGrayRule());
    }

    private static void addHistory(Calls<ConfigMaintainerService> calls) {
        calls.call("listConfigHistory(String,String,String,int,int)", service -> {
            String space = filled(service);
            service.publishConfig("a", GROUP, space, "later");
            service.deleteConfig("a", GROUP, space);
            Page<ConfigHistoryBasicInfo> page =
                    service.listConfigHistory("a", GROUP, space, 1, 10);
            equal(page.getTotalCount(), 3, "total");
            equal(page.getPageItems().stream().map(one -> one.getOpType().trim())
                    .collect(Collectors.joining()), "DUI", "what was done, newest first");
            check(page.getPageItems().stream().allMatch(one -> one.getId() > 0
                    && one.getSrcIp() != null && "formal".equals(one.getPublishType())), "items");
        });
        calls.call("getConfigHistoryInfo(String,String,String,Long)", service -> {
            String space = filled(service);
            service.publishConfig("a", GROUP, space, "later");
            Long newest = service.listConfigHistory("a", GROUP, space, 1, 10).getPageItems().get(0)
                    .getId();
            ConfigHistoryDetailInfo found =
                    service.getConfigHistoryInfo("a", GROUP, space, newest);
            equal(found.getId(), newest, "id");
            equal(found.getDataId(), "a", "dataId");
            equal(found.getNamespaceId(), space, "namespace");
            equal(found.getOpType().trim(), "U", "what was done");
            equal(found.getContent(), "content of a", "content before it");
            equal(found.getMd5(), MD5Utils.md5Hex("content of a", "UTF-8"), "md5");
            check(found.getExtInfo() != null, "extInfo");
        });
        calls.call("getPreviousConfigHistoryInfo(String,String,String,Long)", service -> {
            String space = filled(service);
            service.publishConfig("a", GROUP, space, "second");
            service.publishConfig("a", GROUP, space, "third");
            // Asked by the id of the config, as the pages of Nacos do.
            Long id = service.getConfig("a", GROUP, space).getId();
            ConfigHistoryDetailInfo found =
                    service.getPreviousConfigHistoryInfo("a", GROUP, space, id);
            equal(found.getDataId(), "a", "dataId");
            equal(found.getContent(), "second", "content before the last change");
        });
        calls.call("getConfigListByNamespace(String)", service -> {
            String space = filled(service);
            List<ConfigBasicInfo> all = service.getConfigListByNamespace(space);
            equal(all.stream().map(one -> one.getGroupName() + "/" + one.getDataId()).sorted()
                    .collect(Collectors.joining(" ")), "DEFAULT_GROUP/a DEFAULT_GROUP/b OTHER/a",
                    "all");
        });
    }

    private interface Listening {
        void run(String dataId, String md5) throws Exception;
    }

    /** Runs a body while a gRPC client listens to one config of the namespace. */
    private void listening(ConfigMaintainerService service, String space, Listening body)
            throws Exception {
        String id = unique("heard");
        service.publishConfig(id, GROUP, space, "listen");
        Properties properties = Harness.properties(server);
        properties.put("namespace", PUBLIC.equals(space) ? "" : space);
        ConfigService client = NacosFactory.createConfigService(properties);
        try {
            String now = client.getConfigAndSignListener(id, GROUP, 3000, new AbstractListener() {
                @Override
                public void receiveConfigInfo(String content) {
                }
            });
            equal(now, "listen", "content");
            body.run(id, MD5Utils.md5Hex("listen", "UTF-8"));
        } finally {
            client.shutDown();
        }
    }

    private void addListeners(Calls<ConfigMaintainerService> calls) {
        calls.call("getListeners(String,String)", service -> listening(service, PUBLIC,
                (id, md5) -> heard(() -> service.getListeners(id, GROUP), "config",
                        Map.of("127.0.0.1", md5))));
        calls.call("getListeners(String,String,String,boolean)", service -> {
            String space = filled(service);
            listening(service, space, (id, md5) -> heard(
                    () -> service.getListeners(id, GROUP, space, true), "config",
                    Map.of("127.0.0.1", md5)));
            equal(service.getListeners("a", GROUP, space, false).getListenersStatus(), Map.of(),
                    "nobody listens to a");
        });
        calls.call("getAllSubClientConfigByIp(String,boolean,String,boolean)", service -> {
            String space = filled(service);
            listening(service, space, (id, md5) -> heard(
                    () -> service.getAllSubClientConfigByIp("127.0.0.1", true, space, true), "ip",
                    Map.of(id + "+" + GROUP + "+" + space, md5)));
        });
    }

    private interface Question {
        ConfigListenerInfo ask() throws Exception;
    }

    /** The client listens some time after it was told to. */
    private static void heard(Question question, String kind, Map<String, String> expected)
            throws Exception {
        ConfigListenerInfo[] last = new ConfigListenerInfo[1];
        try {
            Harness.eventually(10_000, "heard", () -> {
                last[0] = question.ask();
                return expected.equals(last[0].getListenersStatus());
            });
        } catch (AssertionError late) {
            throw new AssertionError(last[0].getListenersStatus() + " instead of " + expected);
        }
        equal(last[0].getQueryType(), kind, "kind");
    }

    private static void addRest(Calls<ConfigMaintainerService> calls) {
        calls.call("cloneConfig(String,List,String,SameConfigPolicy)", service -> {
            String space = filled(service);
            String other = unique("clone");
            service.createNamespace(other, other, "");
            ConfigCloneInfo first = new ConfigCloneInfo();
            first.setConfigId(service.getConfig("a", GROUP, space).getId());
            ConfigCloneInfo second = new ConfigCloneInfo();
            second.setConfigId(service.getConfig("b", GROUP, space).getId());
            second.setTargetDataId("c");
            second.setTargetGroupName("CLONED");
            List<ConfigCloneInfo> both = List.of(first, second);
            Map<String, Object> done =
                    service.cloneConfig(other, both, "me", SameConfigPolicy.ABORT);
            equal(done.get("succCount"), 2, "cloned");
            equal(names(service.listConfigs(other)), "CLONED/c DEFAULT_GROUP/a", "clones");
            content(service.getConfig("c", "CLONED", other), "content of b");
            done = service.cloneConfig(other, both, "me", SameConfigPolicy.SKIP);
            equal(done.get("succCount"), 0, "cloned again");
            equal(done.get("skipCount"), 2, "skipped");
        });
        calls.call("updateLocalCacheFromStore()",
                service -> check(!service.updateLocalCacheFromStore().isBlank(), "no word"));
        calls.call("setLogLevel(String,String)", service -> {
            String said = service.setLogLevel("config-server", "INFO");
            check(said.contains("config-server") && said.contains("INFO"), said);
        });
    }
}
