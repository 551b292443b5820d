package interop;

import static interop.ConfigCases.GROUP;
import static interop.ConfigCases.PUBLIC;
import static interop.CoreCases.refused;
import static interop.Harness.check;
import static interop.Harness.equal;
import static interop.Harness.unique;
import static interop.ServiceCases.service;

import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.Service;
import com.alibaba.nacos.maintainer.client.naming.NamingMaintainerService;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Every way to register, deregister, change and read an instance. */
final class InstanceCases {
    private static final String IP = "10.2.0.1";

    /** A persistent instance on port 80. */
    static Instance instance(String ip) {
        Instance instance = new Instance();
        instance.setIp(ip);
        instance.setPort(80);
        instance.setEphemeral(false);
        return instance;
    }

    private static Instance rich() {
        Instance instance = instance(IP);
        instance.setClusterName("c2");
        instance.setWeight(2.5);
        instance.setEnabled(false);
        instance.setMetadata(Map.of("k", "v"));
        return instance;
    }

    private static void plain(Instance found, String cluster) {
        equal(found.getIp(), IP, "address");
        equal(found.getPort(), 80, "port");
        equal(found.getClusterName(), cluster, "cluster");
        equal(found.isEphemeral(), false, "ephemeral");
        equal(found.isEnabled(), true, "enabled");
        equal(found.isHealthy(), true, "healthy");
        equal(found.getWeight(), 1.0, "weight");
    }

    private static void richAgain(Instance found) {
        equal(found.getIp(), IP, "address");
        equal(found.getClusterName(), "c2", "cluster");
        equal(found.getWeight(), 2.5, "weight");
        equal(found.isEnabled(), false, "enabled");
        equal(found.isEphemeral(), false, "ephemeral");
        equal(found.getMetadata(), Map.of("k", "v"), "metadata");
    }

    private interface Act {
        String with(String name) throws Exception;
    }

    private interface Look {
        Instance at(String name) throws Exception;
    }

    private interface Check {
        void of(Instance found) throws Exception;
    }

    /** A service that comes into being, how it is registered, and what is there then. */
    private static void registered(Act act, Look look, Check check) throws Exception {
        String name = unique("reg");
        equal(act.with(name), "ok", "answer");
        check.of(look.at(name));
    }

    /** What was registered is there before, and not afterwards. */
    private static void deregistered(Act prepare, Act act, Look look) throws Exception {
        String name = unique("dereg");
        prepare.with(name);
        look.at(name);
        equal(act.with(name), "ok", "answer");
        refused(404, () -> look.at(name));
    }

    void addTo(Calls<NamingMaintainerService> calls) {
        addRegistrations(calls);
        addDeregistrations(calls);
        addUpdates(calls);
        addMetadata(calls);
        addLists(calls);
        addDetails(calls);
    }

    private static void addRegistrations(Calls<NamingMaintainerService> calls) {
        calls.call("registerInstance(String,String,int)", s -> registered(
                name -> s.registerInstance(name, IP, 80),
                name -> s.getInstanceDetail(name, IP, 80), found -> plain(found, "DEFAULT")));
        calls.call("registerInstance(String,String,String,int)", s -> registered(
                name -> s.registerInstance("G2", name, IP, 80),
                name -> s.getInstanceDetail("G2", name, IP, 80), found -> plain(found, "DEFAULT")));
        calls.call("registerInstance(String,String,String,String,int)", s -> registered(
                name -> s.registerInstance("reg", "G2", name, IP, 80),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80),
                found -> plain(found, "DEFAULT")));
        calls.call("registerInstance(String,String,int,String)", s -> registered(
                name -> s.registerInstance(name, IP, 80, "c1"),
                name -> s.getInstanceDetail(name, IP, 80, "c1"), found -> plain(found, "c1")));
        calls.call("registerInstance(String,String,String,int,String)", s -> registered(
                name -> s.registerInstance("G2", name, IP, 80, "c1"),
                name -> s.getInstanceDetail("G2", name, IP, 80, "c1"),
                found -> plain(found, "c1")));
        calls.call("registerInstance(String,String,String,String,int,String)", s -> registered(
                name -> s.registerInstance("reg", "G2", name, IP, 80, "c1"),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80, "c1"),
                found -> plain(found, "c1")));
        calls.call("registerInstance(String,Instance)", s -> registered(
                name -> s.registerInstance(name, rich()),
                name -> s.getInstanceDetail(name, IP, 80, "c2"), InstanceCases::richAgain));
        calls.call("registerInstance(String,String,Instance)", s -> registered(
                name -> s.registerInstance("G2", name, rich()),
                name -> s.getInstanceDetail("G2", name, IP, 80, "c2"), InstanceCases::richAgain));
        calls.call("registerInstance(String,String,String,Instance)", s -> registered(
                name -> s.registerInstance("reg", "G2", name, rich()),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80, "c2"),
                InstanceCases::richAgain));
        calls.call("registerInstance(Service,Instance)", s -> {
            Service wanted = service("reg", "G3", unique("reg"));
            Instance mortal = instance(IP);
            mortal.setEphemeral(true);
            wanted.setEphemeral(true);
            equal(s.registerInstance(wanted, mortal), "ok", "answer");
            equal(s.getInstanceDetail(wanted, mortal).isEphemeral(), true, "ephemeral");
            equal(s.getServiceDetail(wanted).isEphemeral(), true, "ephemeral service");
        });
    }

    private static void addDeregistrations(Calls<NamingMaintainerService> calls) {
        calls.call("deregisterInstance(String,String,int)", s -> deregistered(
                name -> s.registerInstance(name, IP, 80),
                name -> s.deregisterInstance(name, IP, 80),
                name -> s.getInstanceDetail(name, IP, 80)));
        calls.call("deregisterInstance(String,String,String,int)", s -> deregistered(
                name -> s.registerInstance("G2", name, IP, 80),
                name -> s.deregisterInstance("G2", name, IP, 80),
                name -> s.getInstanceDetail("G2", name, IP, 80)));
        calls.call("deregisterInstance(String,String,String,String,int)", s -> deregistered(
                name -> s.registerInstance("reg", "G2", name, IP, 80),
                name -> s.deregisterInstance("reg", "G2", name, IP, 80),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80)));
        calls.call("deregisterInstance(String,String,int,String)", s -> deregistered(
                name -> s.registerInstance(name, IP, 80, "c1"),
                name -> s.deregisterInstance(name, IP, 80, "c1"),
                name -> s.getInstanceDetail(name, IP, 80, "c1")));
        calls.call("deregisterInstance(String,String,String,int,String)", s -> deregistered(
                name -> s.registerInstance("G2", name, IP, 80, "c1"),
                name -> s.deregisterInstance("G2", name, IP, 80, "c1"),
                name -> s.getInstanceDetail("G2", name, IP, 80, "c1")));
        calls.call("deregisterInstance(String,String,String,String,int,String)", s -> deregistered(
                name -> s.registerInstance("reg", "G2", name, IP, 80, "c1"),
                name -> s.deregisterInstance("reg", "G2", name, IP, 80, "c1"),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80, "c1")));
        calls.call("deregisterInstance(String,Instance)", s -> deregistered(
                name -> s.registerInstance(name, rich()),
                name -> s.deregisterInstance(name, rich()),
                name -> s.getInstanceDetail(name, IP, 80, "c2")));
        calls.call("deregisterInstance(String,String,Instance)", s -> deregistered(
                name -> s.registerInstance("G2", name, rich()),
                name -> s.deregisterInstance("G2", name, rich()),
                name -> s.getInstanceDetail("G2", name, IP, 80, "c2")));
        calls.call("deregisterInstance(String,String,String,Instance)", s -> deregistered(
                name -> s.registerInstance("reg", "G2", name, rich()),
                name -> s.deregisterInstance("reg", "G2", name, rich()),
                name -> s.getInstanceDetail("reg", "G2", name, IP, 80, "c2")));
        calls.call("deregisterInstance(Service,Instance)", s -> {
            Service wanted = service("reg", "G3", unique("dereg"));
            s.registerInstance(wanted, instance(IP));
            s.registerInstance(wanted, instance("10.2.0.2"));
            equal(s.deregisterInstance(wanted, instance(IP)), "ok", "answer");
            equal(addresses(s.listInstances(wanted, "", false)), "10.2.0.2", "left");
        });
    }

    private static void updated(Act prepare, Act act, Look look) throws Exception {
        String name = unique("upd");
        prepare.with(name);
        equal(act.with(name), "ok", "answer");
        richAgain(look.at(name));
    }

    private static Instance poor() {
        Instance instance = instance(IP);
        instance.setClusterName("c2");
        return instance;
    }

    private static void addUpdates(Calls<NamingMaintainerService> calls) {
        calls.call("updateInstance(String,Instance)", s -> updated(
                name -> s.registerInstance(name, poor()), name -> s.updateInstance(name, rich()),
                name -> s.getInstanceDetail(name, IP, 80, "c2")));
        calls.call("updateInstance(String,String,Instance)", s -> updated(
                name -> s.registerInstance("G2", name, poor()),
                name -> s.updateInstance("G2", name, rich()),
                name -> s.getInstanceDetail("G2", name, IP, 80, "c2")));
        calls.call("updateInstance(String,String,String,Instance)", s -> updated(
                name -> s.registerInstance("upd", "G2", name, poor()),
                name -> s.updateInstance("upd", "G2", name, rich()),
                name -> s.getInstanceDetail("upd", "G2", name, IP, 80, "c2")));
        calls.call("updateInstance(Service,Instance)", s -> updated(
                name -> s.registerInstance(service("upd", "G3", name), poor()),
                name -> s.updateInstance(service("upd", "G3", name), rich()),
                name -> s.getInstanceDetail(service("upd", "G3", name), poor())));
        calls.call("partialUpdateInstance(Service,Instance)", s -> updated(
                name -> s.registerInstance(service("upd", "G3", name), poor()),
                name -> s.partialUpdateInstance(service("upd", "G3", name), rich()),
                name -> s.getInstanceDetail(service("upd", "G3", name), poor())));
    }

    private static void addMetadata(Calls<NamingMaintainerService> calls) {
        calls.call("batchUpdateInstanceMetadata(Service,List,Map)", s -> {
            Service wanted = service("upd", GROUP, unique("meta"));
            s.registerInstance(wanted, rich());
            s.registerInstance(wanted, instance("10.2.0.2"));
            List<String> done = s.batchUpdateInstanceMetadata(wanted, List.of(rich()),
                    Map.of("added", "1")).getUpdated();
            equal(done.size(), 1, "updated");
            check(done.get(0).startsWith(IP + ":80:"), done.get(0));
            equal(s.getInstanceDetail(wanted, rich()).getMetadata(),
                    Map.of("k", "v", "added", "1"), "metadata");
            equal(s.getInstanceDetail(wanted, instance("10.2.0.2")).getMetadata(), Map.of(), "");
        });
        calls.call("batchDeleteInstanceMetadata(Service,List,Map)", s -> {
            Service wanted = service("upd", GROUP, unique("meta"));
            Instance two = rich();
            two.setMetadata(Map.of("k", "v", "l", "w"));
            s.registerInstance(wanted, two);
            List<String> done = s.batchDeleteInstanceMetadata(wanted, List.of(rich()),
                    Map.of("l", "w")).getUpdated();
            equal(done.size(), 1, "updated");
            equal(s.getInstanceDetail(wanted, rich()).getMetadata(), Map.of("k", "v"), "metadata");
        });
    }

    private static String addresses(List<Instance> found) {
        return found.stream().map(Instance::getIp).sorted().collect(Collectors.joining(" "));
    }

    /** One in the cluster DEFAULT, one that is not enabled in c2. */
    private static String filled(NamingMaintainerService s, String space, String group)
            throws Exception {
        String name = unique("list");
        s.registerInstance(space, group, name, instance("10.2.0.2"));
        s.registerInstance(space, group, name, rich());
        return name;
    }

    private static void addLists(Calls<NamingMaintainerService> calls) {
        calls.call("listInstances(String,String,boolean)", s -> {
            String name = filled(s, PUBLIC, GROUP);
            equal(addresses(s.listInstances(name, "DEFAULT", false)), "10.2.0.2", "DEFAULT");
            equal(addresses(s.listInstances(name, "c2", false)), IP, "c2");
            refused(404, () -> s.listInstances(unique("absent"), "DEFAULT", false));
        });
        calls.call("listInstances(String,String,String,boolean)", s -> {
            String name = filled(s, PUBLIC, "G2");
            equal(addresses(s.listInstances("G2", name, "DEFAULT", true)), "10.2.0.2", "healthy");
        });
        calls.call("listInstances(String,String,String,String,boolean)", s -> {
            String name = filled(s, "lists", "G2");
            List<Instance> found = s.listInstances("lists", "G2", name, "c2", false);
            equal(addresses(found), IP, "c2");
        });
        calls.call("listInstances(Service,String,boolean)", s -> {
            Service wanted = service("lists", GROUP, filled(s, "lists", GROUP));
            Instance found = s.listInstances(wanted, "c2", false).get(0);
            richAgain(found);
            equal(found.isHealthy(), true, "healthy");
            equal(found.getPort(), 80, "port");
            equal(found.getServiceName(), GROUP + "@@" + wanted.getName(), "service");
        });
    }

    private static void addDetails(Calls<NamingMaintainerService> calls) {
        calls.call("getInstanceDetail(String,String,int)", s -> {
            String name = filled(s, PUBLIC, GROUP);
            equal(s.getInstanceDetail(name, "10.2.0.2", 80).getClusterName(), "DEFAULT", "");
            refused(404, () -> s.getInstanceDetail(name, IP, 80));
        });
        calls.call("getInstanceDetail(String,String,String,int)", s -> {
            String name = filled(s, PUBLIC, "G2");
            equal(s.getInstanceDetail("G2", name, "10.2.0.2", 80).getIp(), "10.2.0.2", "address");
        });
        calls.call("getInstanceDetail(String,String,String,String,int)", s -> {
            String name = filled(s, "ones", "G2");
            equal(s.getInstanceDetail("ones", "G2", name, "10.2.0.2", 80).getIp(), "10.2.0.2", "");
        });
        calls.call("getInstanceDetail(String,String,int,String)", s -> richAgain(
                s.getInstanceDetail(filled(s, PUBLIC, GROUP), IP, 80, "c2")));
        calls.call("getInstanceDetail(String,String,String,int,String)", s -> richAgain(
                s.getInstanceDetail("G2", filled(s, PUBLIC, "G2"), IP, 80, "c2")));
        calls.call("getInstanceDetail(String,String,String,String,int,String)", s -> richAgain(
                s.getInstanceDetail("ones", "G2", filled(s, "ones", "G2"), IP, 80, "c2")));
        calls.call("getInstanceDetail(Service,Instance)", s -> richAgain(s.getInstanceDetail(
                service("ones", "G3", filled(s, "ones", "G3")), rich())));
    }
}
