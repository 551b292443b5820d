// Command interop tries nacos-sdk-go v2 over gRPC against a running server.
package main

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/config_client"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

const group = "DEFAULT_GROUP"

var (
	servers []constant.ServerConfig
	input   = bufio.NewReader(os.Stdin)
	run     = fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()%1_000_000)
)

// failure is what a case panics with; skip says that it cannot be tried here.
type failure string
type skip string

func check(ok bool, format string, arguments ...any) {
	if !ok {
		panic(failure(fmt.Sprintf(format, arguments...)))
	}
}

func must(err error, what string) { check(err == nil, "%s: %v", what, err) }

func unique(word string) string { return word + "-go-" + run }

func eventually(within time.Duration, what string, look func() bool) {
	for end := time.Now().Add(within); !look(); time.Sleep(50 * time.Millisecond) {
		check(time.Now().Before(end), "not within %s: %s", within, what)
	}
}

func settings(namespace string) vo.NacosClientParam {
	home := filepath.Join(os.TempDir(), "nacolet-interop-go-"+run)
	client := constant.NewClientConfig(
		constant.WithNamespaceId(namespace),
		constant.WithLogDir(filepath.Join(home, "log")),
		constant.WithCacheDir(filepath.Join(home, "cache")),
		constant.WithNotLoadCacheAtStart(true),
		constant.WithUpdateCacheWhenEmpty(true),
		// Empty where the server asks for no users, and then the library does not log in.
		constant.WithUsername(os.Getenv("NACOS_USERNAME")),
		constant.WithPassword(os.Getenv("NACOS_PASSWORD")),
		constant.WithLogLevel("error"),
	)
	return vo.NacosClientParam{ClientConfig: client, ServerConfigs: servers}
}

func configs() config_client.IConfigClient { return configsOf("") }

func configsOf(namespace string) config_client.IConfigClient {
	client, err := clients.NewConfigClient(settings(namespace))
	must(err, "config client")
	return client
}

func naming() naming_client.INamingClient {
	client, err := clients.NewNamingClient(settings(""))
	must(err, "naming client")
	return client
}

func publish(client config_client.IConfigClient, dataID, content string) {
	ok, err := client.PublishConfig(vo.ConfigParam{DataId: dataID, Group: group, Content: content})
	check(ok && err == nil, "publish: %v", err)
}

func publishReadAndRemove() {
	client, dataID := configs(), unique("config")
	defer client.CloseClient()
	publish(client, dataID, "a: 1\n\"ü\"")
	content, err := client.GetConfig(vo.ConfigParam{DataId: dataID, Group: group})
	check(content == "a: 1\n\"ü\"", "read %q: %v", content, err)
	ok, err := client.DeleteConfig(vo.ConfigParam{DataId: dataID, Group: group})
	check(ok && err == nil, "remove: %v", err)
	content, _ = client.GetConfig(vo.ConfigParam{DataId: dataID, Group: group})
	check(content == "", "removed, and still %q", content)
}

func compareAndSet() {
	client, dataID := configs(), unique("cas")
	defer client.CloseClient()
	publish(client, dataID, "one")
	wrong := vo.ConfigParam{DataId: dataID, Group: group, Content: "two", CasMd5: strings.Repeat("0", 32)}
	ok, _ := client.PublishConfig(wrong)
	check(!ok, "a wrong md5 is refused")
	// md5 of "one"
	right := vo.ConfigParam{
		DataId: dataID, Group: group, Content: "two", CasMd5: "f97c5d29941bfb1b2fdab0874906ab82",
	}
	ok, err := client.PublishConfig(right)
	check(ok, "the right md5 is taken: %v", err)
}

// told collects what callbacks bring.
type told struct {
	lock sync.Mutex
	last string
}

func (t *told) set(text string) { t.lock.Lock(); t.last = text; t.lock.Unlock() }
func (t *told) is(text string) func() bool {
	return func() bool { t.lock.Lock(); defer t.lock.Unlock(); return t.last == text }
}

// listen returns when the library listens: it asks the server up to five seconds later, and may
// forget what it is told meanwhile.
func listen(client config_client.IConfigClient, dataID string) *told {
	heard := &told{}
	must(client.ListenConfig(vo.ConfigParam{DataId: dataID, Group: group,
		OnChange: func(_, _, _, content string) { heard.set(content) }}), "listen")
	time.Sleep(7 * time.Second)
	return heard
}

func listenersHear() {
	client, dataID := configs(), unique("listen")
	defer client.CloseClient()
	heard := listen(client, dataID)
	for _, content := range []string{"one", "two", "three"} {
		publish(client, dataID, content)
		eventually(5*time.Second, "told of "+content, heard.is(content))
	}
}

func bothSpellingsHear() {
	blank, named, dataID := configsOf(""), configsOf("public"), unique("spelling")
	defer blank.CloseClient()
	defer named.CloseClient()
	ears := []*told{listen(blank, dataID), listen(named, dataID)}
	for _, content := range []string{"one", "two"} {
		publish(blank, dataID, content)
		for _, heard := range ears {
			eventually(5*time.Second, "told of "+content, heard.is(content))
		}
	}
}

func ports(instances []model.Instance) string {
	var ports []int
	for _, instance := range instances {
		ports = append(ports, int(instance.Port))
	}
	sort.Ints(ports)
	return strings.Trim(fmt.Sprint(ports), "[]")
}

func register(client naming_client.INamingClient, service string, port uint64) {
	ok, err := client.RegisterInstance(vo.RegisterInstanceParam{
		Ip: "10.4.0.1", Port: port, ServiceName: service, GroupName: group,
		Weight: 1, Enable: true, Healthy: true, Ephemeral: true})
	check(ok && err == nil, "register: %v", err)
}

func subscribe(client naming_client.INamingClient, service string) *told {
	heard := &told{last: "nothing"}
	must(client.Subscribe(&vo.SubscribeParam{ServiceName: service, GroupName: group,
		SubscribeCallback: func(instances []model.Instance, _ error) { heard.set(ports(instances)) }}),
		"subscribe")
	return heard
}

func subscribersHear() {
	watcher, provider, service := naming(), naming(), unique("subscribe")
	heard := subscribe(watcher, service)
	register(provider, service, 80)
	eventually(5*time.Second, "80", heard.is("80"))
	second := naming()
	register(second, service, 81)
	eventually(5*time.Second, "80 and 81", heard.is("80 81"))
	second.CloseClient()
	eventually(5*time.Second, "80 again", heard.is("80"))
	_, err := provider.DeregisterInstance(vo.DeregisterInstanceParam{
		Ip: "10.4.0.1", Port: 80, ServiceName: service, GroupName: group, Ephemeral: true})
	must(err, "deregister")
	eventually(5*time.Second, "none", heard.is(""))
	provider.CloseClient()
	watcher.CloseClient()
}

func batchesReplace() {
	watcher, provider, service := naming(), naming(), unique("batch")
	heard := subscribe(watcher, service)
	for _, wanted := range [][]uint64{{1, 2, 3}, {1, 2}} {
		var batch []vo.RegisterInstanceParam
		var text []string
		for _, port := range wanted {
			batch = append(batch, vo.RegisterInstanceParam{Ip: "10.4.0.1", Port: port, Weight: 1,
				Enable: true, Healthy: true, Ephemeral: true})
			text = append(text, strconv.Itoa(int(port)))
		}
		_, err := provider.BatchRegisterInstance(vo.BatchRegisterInstanceParam{
			ServiceName: service, GroupName: group, Instances: batch})
		must(err, "batch")
		eventually(5*time.Second, strings.Join(text, " "), heard.is(strings.Join(text, " ")))
	}
	provider.CloseClient()
	watcher.CloseClient()
}

func servicesAreListed() {
	client, service, other := naming(), unique("listed"), unique("group")
	defer client.CloseClient()
	_, err := client.RegisterInstance(vo.RegisterInstanceParam{Ip: "10.4.0.1", Port: 80,
		ServiceName: service, GroupName: other, Weight: 1, Enable: true, Healthy: true, Ephemeral: true})
	must(err, "register")
	page, err := client.GetAllServicesInfo(vo.GetAllServiceInfoParam{GroupName: other, PageNo: 1, PageSize: 10})
	must(err, "list")
	check(page.Count == 1 && page.Doms[0] == service, "listed %v", page)
}

func lifeGoesOnAfterARestart() {
	config, client := configs(), naming()
	dataID, service := unique("restart"), unique("restart")
	publish(config, dataID, "before")
	heard, list := listen(config, dataID), subscribe(client, service)
	register(client, service, 80)
	eventually(5*time.Second, "80", list.is("80"))
	say("RESTART")
	if answer, _ := input.ReadString('\n'); strings.TrimSpace(answer) != "RESTARTED" {
		panic(skip("the server is not ours to restart"))
	}
	watcher := naming()
	again := subscribe(watcher, service)
	eventually(30*time.Second, "it registers again by itself", again.is("80"))
	// Of two lists the library believes the one with the later time.
	register(watcher, service, 81)
	eventually(20*time.Second, "the subscription from before hears", list.is("80 81"))
	publish(configs(), dataID, "after")
	eventually(20*time.Second, "told after the restart", heard.is("after"))
}

func say(line string) { fmt.Println(line) }

func tell(name string, body func()) (passed bool) {
	start := time.Now()
	defer func() {
		switch why := recover().(type) {
		case nil:
			say(fmt.Sprintf("ok %s (%.1f s)", name, time.Since(start).Seconds()))
			passed = true
		case skip:
			say(fmt.Sprintf("skip %s %s", name, why))
			passed = true
		default:
			say(fmt.Sprintf("FAIL %s %s", name, strings.Join(strings.Fields(fmt.Sprint(why)), " ")))
		}
	}()
	body()
	return
}

func main() {
	base := "http://127.0.0.1:8848"
	if len(os.Args) > 1 {
		base = os.Args[1]
	}
	for _, node := range strings.Split(base, ",") {
		address, err := url.Parse(node)
		if err != nil {
			say("FAIL start " + err.Error())
			os.Exit(1)
		}
		port, _ := strconv.ParseUint(address.Port(), 10, 16)
		servers = append(servers, *constant.NewServerConfig(address.Hostname(), port,
			constant.WithContextPath("/nacos")))
	}
	passed := true
	for _, one := range []struct {
		name string
		body func()
	}{
		{"publish-read-and-remove", publishReadAndRemove},
		{"compare-and-set", compareAndSet},
		{"listeners-hear", listenersHear},
		{"both-spellings-of-the-default-namespace", bothSpellingsHear},
		{"subscribers-hear", subscribersHear},
		{"batches-replace", batchesReplace},
		{"services-are-listed", servicesAreListed},
		{"life-goes-on-after-a-restart", lifeGoesOnAfterARestart},
	} {
		passed = tell(one.name, one.body) && passed
	}
	if !passed {
		os.Exit(1)
	}
}
