package deploytest

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"parlor/internal/config"
)

// release is a rendered chart.
type release struct {
	stateful *appsv1.StatefulSet
	services map[string]*corev1.Service
	secret   *corev1.Secret
	budget   *policyv1.PodDisruptionBudget
	ingress  *networkingv1.Ingress
	account  *corev1.ServiceAccount
	monitor  *serviceMonitor
	notes    string
}

// serviceMonitor is what the chart says of the Prometheus operator's kind.
type serviceMonitor struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Endpoints []struct {
			Port      string          `json:"port"`
			Path      string          `json:"path"`
			Interval  string          `json:"interval"`
			Scheme    string          `json:"scheme"`
			TLSConfig map[string]bool `json:"tlsConfig"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// render renders the chart as helm install would.
func render(t testing.TB, values string) (*release, error) {
	t.Helper()
	chart, err := loader.Load("../helm/parlor")
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	if err := chartutil.ProcessDependencies(chart, given); err != nil {
		t.Fatal(err)
	}
	options := chartutil.ReleaseOptions{Name: "chat", Namespace: "live", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	strict := engine.Engine{Strict: true}
	files, err := strict.Render(chart, all)
	if err != nil {
		return nil, err
	}
	r := &release{services: map[string]*corev1.Service{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			r.notes = files[name]
			continue
		}
		if strings.HasSuffix(name, ".tpl") {
			continue
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(files[name])))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := r.take(document); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
		}
	}
	return r, nil
}

// take decodes one object strictly.
func (r *release) take(document []byte) error {
	var head struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if len(bytes.TrimSpace(document)) == 0 {
		return nil
	}
	if err := yaml.Unmarshal(document, &head); err != nil {
		return err
	}
	if head.Kind == "" { // comments alone
		return nil
	}
	if head.Metadata.Namespace != "live" {
		return fmt.Errorf("the namespace is %q", head.Metadata.Namespace)
	}
	into := func(object any) error { return yaml.UnmarshalStrict(document, object) }
	switch head.Kind {
	case "StatefulSet":
		r.stateful = &appsv1.StatefulSet{}
		return into(r.stateful)
	case "Service":
		s := &corev1.Service{}
		err := into(s)
		r.services[s.Name] = s
		return err
	case "Secret":
		r.secret = &corev1.Secret{}
		return into(r.secret)
	case "PodDisruptionBudget":
		r.budget = &policyv1.PodDisruptionBudget{}
		return into(r.budget)
	case "Ingress":
		r.ingress = &networkingv1.Ingress{}
		return into(r.ingress)
	case "ServiceAccount":
		r.account = &corev1.ServiceAccount{}
		return into(r.account)
	case "ServiceMonitor":
		r.monitor = &serviceMonitor{}
		return into(r.monitor)
	}
	return fmt.Errorf("the kind %s is not known here", head.Kind)
}

func mustRender(t testing.TB, values string) *release {
	t.Helper()
	r, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// secretsMade has all secrets made by the chart.
var secretsMade = `
credentials: {content: ` + strconv.Quote(exampleKey+"policy = all.json\n") + `, policies: {all.json: ` + strconv.Quote(examplePolicy) + `}}
database: {url: "postgres://parlor@db.example.com:5432/parlor", password: pass}
redis: {url: "redis://:pass@redis.example.com:6379"}
webhookSecret: {value: 0123456789abcdef}
settings:
  review-webhook: ["arn:aws:lambda:us-east-1:123456789012:function:review=https://review.example.com/"]
  log-level: debug
  connections-per-address: 2000000
  compression: true
  regions: [us-east-1, eu-west-1]
trustedProxies: [10.0.0.0/8, "fd00::/8"]
drainWindowSeconds: 60
`

// alone is one node with a store of its own.
var alone = `
replicaCount: 1
credentials: {content: ` + strconv.Quote(exampleKey) + `}
`

// secretsThere has all secrets made by the operator, TLS by Parlor, and what is optional.
const secretsThere = `
fullnameOverride: talk
image: {repository: registry.example.com/parlor, tag: "1.2.3"}
credentials: {existingSecret: keys, key: file}
database: {existingSecret: db, urlKey: url, passwordKey: password}
redis: {existingSecret: cache, urlKey: url}
webhookSecret: {existingSecret: hook, key: secret}
tls: {existingSecret: certificate}
ingress: {enabled: true, className: nginx, host: chat.example.com, tlsSecret: public}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
preStopSeconds: 0
persistence: {storageClass: fast, size: 5Gi}
extraEnv: [{name: AWS_REGION, value: eu-west-1}]
extraEnvFrom: [{secretRef: {name: aws}}]
nodeSelector: {disk: ssd}
tolerations: [{key: chat, operator: Exists}]
imagePullSecrets: [{name: registry}]
podAnnotations: {a: b}
podLabels: {team: live}
priorityClassName: high
serviceAccount: {create: false}
podDisruptionBudget: {enabled: false}
`

// there is what is in the secrets that secretsThere names.
func there(t testing.TB) map[string]map[string][]byte {
	certificate, key := certificate(t, "chat.example.com")
	return map[string]map[string][]byte{
		"keys":        {"file": []byte(exampleKey + "policy = all.json\n"), "all.json": []byte(examplePolicy)},
		"db":          {"url": []byte("postgres://parlor@db.example.com/parlor"), "password": []byte("pass")},
		"cache":       {"url": []byte("rediss://redis.example.com:6379")},
		"hook":        {"secret": []byte("0123456789abcdef")},
		"certificate": {"tls.crt": certificate, "tls.key": key},
	}
}

func TestChart(t *testing.T) {
	for _, c := range []struct {
		name, values string
		secrets      map[string]map[string][]byte
		grace        time.Duration // what a stop may take before stopTime
		nodes        int32
		flags        []string
	}{
		{name: "one node with a store of its own", values: alone, grace: 15 * time.Second, nodes: 1},
		{name: "secrets made by the chart", values: secretsMade, grace: 65 * time.Second, nodes: 3, flags: []string{
			"--connections-per-address=2000000", "--regions=us-east-1,eu-west-1", "--compression=true", "--log-level=debug",
			"--drain-window=60s", "--trusted-proxies=10.0.0.0/8,fd00::/8"}},
		{name: "secrets made by the operator", values: secretsThere, secrets: there(t), grace: 10 * time.Second, nodes: 3,
			flags: []string{"--tls-cert=/etc/parlor/tls/tls.crt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustRender(t, c.values)
			if r.secret != nil {
				if c.secrets != nil {
					t.Error("the chart makes a secret beside the operator's")
				}
				c.secrets = map[string]map[string][]byte{r.secret.Name: r.secret.Data}
			}
			pod := r.stateful.Spec.Template.Spec
			if len(pod.Containers) != 1 {
				t.Fatalf("%d containers", len(pod.Containers))
			}
			container := pod.Containers[0]
			for _, flag := range c.flags {
				if !slices.Contains(container.Args, flag) {
					t.Errorf("there is no %s among %q", flag, container.Args)
				}
			}
			if got := *r.stateful.Spec.Replicas; got != c.nodes {
				t.Errorf("%d nodes, want %d", got, c.nodes)
			}
			checkSettings(t, r, c.secrets)
			checkSelectors(t, r)
			checkProbes(t, &container)
			checkSecurity(t, &pod)

			grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
			if least := c.grace + stopTime(t); grace < least || grace > least+time.Minute {
				t.Errorf("a stop may take %v, the pod has %v", least, grace)
			}
			if claims := r.stateful.Spec.VolumeClaimTemplates; len(claims) != 1 || claims[0].Name != "data" {
				t.Errorf("the claims are %+v", claims)
			}
			for _, kept := range []appsv1.PersistentVolumeClaimRetentionPolicyType{
				r.stateful.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, r.stateful.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled} {
				if kept != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
					t.Error("a spool goes with its node")
				}
			}
			if service := r.services[r.stateful.Spec.ServiceName]; service == nil || service.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("%s is no headless service", r.stateful.Spec.ServiceName)
			}
			if c.name == "secrets made by the operator" {
				checkOptional(t, r)
			} else if r.budget == nil || r.budget.Spec.MaxUnavailable.IntValue() != 1 {
				t.Errorf("the disruption budget is %+v", r.budget)
			}
		})
	}
}

// checkSettings lays out the files of the pod as the kubelet would, and has Parlor judge the
// arguments and the environment of its container.
func checkSettings(t *testing.T, r *release, secrets map[string]map[string][]byte) {
	t.Helper()
	pod := r.stateful.Spec.Template.Spec
	container := pod.Containers[0]
	lookup := func(secret, key string) []byte {
		value, ok := secrets[secret][key]
		if !ok {
			t.Errorf("no secret %s has %s", secret, key)
		}
		return value
	}
	dir := shared(t)
	mounted := map[string]string{}
	for _, mount := range container.VolumeMounts {
		mounted[mount.Name] = mount.MountPath
		if mount.SubPath != "" {
			t.Errorf("%s is mounted by a path below it, and so never renewed", mount.Name)
		}
	}
	volumes := map[string]bool{}
	for _, claim := range r.stateful.Spec.VolumeClaimTemplates {
		volumes[claim.Name] = true
	}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = true
		source := volume.Secret
		if source == nil {
			continue
		}
		if *source.DefaultMode != 0o440 {
			t.Errorf("secret %s is mounted with mode %o", source.SecretName, *source.DefaultMode)
		}
		files := map[string]string{} // keys by path
		for _, item := range source.Items {
			files[item.Path] = item.Key
		}
		if source.Items == nil {
			for key := range secrets[source.SecretName] {
				files[key] = key
			}
		}
		for path, key := range files {
			put(t, filepath.Join(dir, mounted[volume.Name], path), lookup(source.SecretName, key))
		}
	}
	for name := range mounted {
		if !volumes[name] {
			t.Errorf("there is no volume %s to mount", name)
		}
	}
	if len(mounted) != len(volumes) {
		t.Errorf("the volumes %v are not those that are mounted: %v", volumes, mounted)
	}
	var env []string
	for _, e := range container.Env {
		if strings.HasPrefix(e.Name, "PARLOR_") && !isSetting(e.Name) {
			t.Errorf("%s is no variable of Parlor's", e.Name)
		}
		if e.ValueFrom == nil {
			env = append(env, e.Name+"="+e.Value)
			continue
		}
		from := e.ValueFrom.SecretKeyRef
		env = append(env, e.Name+"="+string(lookup(from.Name, from.Key)))
	}
	if !reflect.DeepEqual(container.Command, []string{"/parlor"}) || container.Args[0] != "serve" {
		t.Errorf("the command is %q %q", container.Command, container.Args)
	}
	var flags []string
	for _, flag := range container.Args[1:] {
		flags = append(flags, strings.NewReplacer("=/etc/parlor/", "="+dir+"/etc/parlor/").Replace(flag))
	}
	if err := check(t, env, flags...); err != nil {
		t.Error(err)
	}
	if !strings.Contains(strings.Join(container.Args, " "), "--data="+mounted["data"]+" ") {
		t.Errorf("the data directory is not the volume at %s", mounted["data"])
	}
}

// checkSelectors looks whether what selects pods selects these, by ports that they have.
func checkSelectors(t *testing.T, r *release) {
	t.Helper()
	pod := labels.Set(r.stateful.Spec.Template.Labels)
	selects := func(what string, selector map[string]string, set labels.Set) {
		t.Helper()
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(set) {
			t.Errorf("%s selects %v, which is not %v", what, selector, set)
		}
	}
	selects("the set", r.stateful.Spec.Selector.MatchLabels, pod)
	for name, service := range r.services {
		selects("the service "+name, service.Spec.Selector, pod)
		for _, port := range service.Spec.Ports {
			if port.TargetPort.StrVal != r.stateful.Spec.Template.Spec.Containers[0].Ports[0].Name {
				t.Errorf("the service %s leads to port %v", name, port.TargetPort)
			}
		}
	}
	if r.budget != nil {
		selects("the disruption budget", r.budget.Spec.Selector.MatchLabels, pod)
	}
	if len(r.stateful.Spec.Template.Spec.TopologySpreadConstraints) != 2 {
		t.Error("the pods are not spread over machines and zones")
	}
	for _, spread := range r.stateful.Spec.Template.Spec.TopologySpreadConstraints {
		selects("the spread over "+spread.TopologyKey, spread.LabelSelector.MatchLabels, pod)
	}
	if r.monitor != nil {
		found := 0
		for _, service := range r.services {
			if labels.SelectorFromSet(r.monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
				found++
			}
		}
		if found != 1 { // else every node would be scraped as often as there are services
			t.Errorf("the monitor finds %d services", found)
		}
	}
}

func checkProbes(t *testing.T, c *corev1.Container) {
	t.Helper()
	scheme := corev1.URISchemeHTTP
	if slices.ContainsFunc(c.Args, func(a string) bool { return strings.HasPrefix(a, "--tls-cert=") }) {
		scheme = corev1.URISchemeHTTPS
	}
	for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		want := "/healthz"
		if name == "readiness" {
			want = "/readyz"
		}
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != want || p.HTTPGet.Port.StrVal != c.Ports[0].Name || p.HTTPGet.Scheme != scheme {
			t.Errorf("the %s probe is %+v", name, p)
			continue
		}
		if p.TimeoutSeconds < 3 { // /readyz looks for two seconds
			t.Errorf("the %s probe waits %d s", name, p.TimeoutSeconds)
		}
	}
	// A handshake waits 15 s for a broker: as long as that no node is taken out.
	if p := c.ReadinessProbe; p.PeriodSeconds*p.FailureThreshold < 15 {
		t.Errorf("a node is taken out after %d s", p.PeriodSeconds*p.FailureThreshold)
	}
}

func checkSecurity(t *testing.T, pod *corev1.PodSpec) {
	t.Helper()
	s, c := pod.SecurityContext, pod.Containers[0].SecurityContext
	switch {
	case !*s.RunAsNonRoot, *s.RunAsUser != user, *s.RunAsGroup != user, *s.FSGroup != user,
		s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault,
		*c.AllowPrivilegeEscalation, !*c.ReadOnlyRootFilesystem, !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}),
		*pod.AutomountServiceAccountToken, *pod.EnableServiceLinks:
		t.Errorf("the pod may too much: %+v, %+v", s, c)
	}
	if pod.Containers[0].Resources.Requests.Memory().IsZero() || pod.Containers[0].Resources.Limits.Memory().IsZero() {
		t.Error("nothing is said about memory")
	}
}

// checkOptional looks at what secretsThere asks for.
func checkOptional(t *testing.T, r *release) {
	t.Helper()
	pod := r.stateful.Spec.Template.Spec
	if r.budget != nil || r.account != nil {
		t.Error("what was switched off is there")
	}
	if pod.Containers[0].Lifecycle != nil {
		t.Error("the pod waits before it stops")
	}
	if got, want := pod.Containers[0].Image, "registry.example.com/parlor:1.2.3"; got != want {
		t.Errorf("image %s, want %s", got, want)
	}
	if got := *r.stateful.Spec.VolumeClaimTemplates[0].Spec.StorageClassName; got != "fast" {
		t.Errorf("storage class %s", got)
	}
	backend := r.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service
	if service := r.services[backend.Name]; service == nil || service.Spec.Ports[0].Name != backend.Port.Name {
		t.Errorf("the Ingress leads to %+v", backend)
	}
	if r.ingress.Spec.TLS[0].SecretName != "public" || r.ingress.Annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] != "3600" {
		t.Errorf("the Ingress is %+v", r.ingress)
	}
	if e := r.monitor.Spec.Endpoints[0]; e.Path != "/metrics" || e.Scheme != "https" || e.Port != "http" {
		t.Errorf("the monitor is %+v", r.monitor)
	}
	for _, want := range []string{"statefulset/talk", "https://chat.example.com", "trustedProxies is empty"} {
		if !strings.Contains(r.notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, r.notes)
		}
	}
}

func TestChartRefuses(t *testing.T) {
	for _, c := range []struct{ name, values, want string }{
		{"no access keys", "replicaCount: 1", "parlor key create"},
		{"access keys twice", "credentials: {content: x, existingSecret: keys}", "leave one of them away"},
		{"many nodes without a database", strings.Replace(alone, "replicaCount: 1", "replicaCount: 2", 1), "needs database and redis"},
		{"Redis without a database", alone + "redis: {url: \"redis://a:6379\"}", "give database"},
		{"webhooks without a secret", alone + "settings: {review-webhook: [a]}", "settings.review-webhook needs it"},
		{"a short webhook secret", alone + "webhookSecret: {value: short}", "webhookSecret"},
		{"a setting that the chart has", alone + "settings: {listen: \":80\"}", "listen"},
		{"a value that does not exist", alone + "replicas: 3", "replicas"},
		{"a URL that is none", alone + "database: {url: \"mysql://a\"}", "database"},
		{"an Ingress without a host", alone + "ingress: {enabled: true}", "ingress.host"},
		{"no nodes", "replicaCount: 0", "replicaCount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := render(t, c.values)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Every setting of parlor serve can be given by the chart: by a value of its own or under
// settings.
func TestChartHasEverySetting(t *testing.T) {
	r := mustRender(t, secretsThere)
	container := r.stateful.Spec.Template.Spec.Containers[0]
	own := map[string]bool{"insecure-http": true, "trusted-proxies": true} // not in these values
	for _, flag := range container.Args[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		own[name] = true
	}
	for _, e := range container.Env {
		own[strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(e.Name, "PARLOR_"), "_", "-"))] = true
	}
	for _, f := range config.Fields(config.Serve) {
		_, err := render(t, alone+"settings: {"+f.Name+": \"1\"}")
		if own[f.Name] && err == nil {
			t.Errorf("%s can be given twice", f.Name)
		}
		if f.Name == "review-webhook" {
			continue // needs a secret as well
		}
		if !own[f.Name] && err != nil {
			t.Errorf("%s cannot be given: %v", f.Name, err)
		}
	}
}

// certificate returns a certificate for a name and its key, as PEM.
func certificate(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
