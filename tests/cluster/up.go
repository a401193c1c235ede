package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const (
	// What Services get their addresses from.
	serviceRanges = "10.96.0.0/16,fd00:10:96::/112"
	token         = "hopzero-test-cluster"
	patience      = 90 * time.Second
	// Enough for slices whose endpoints are on several nodes.
	nodes = 3
)

// up starts a control plane whose files are in DIR, says `ready`, and ends it when a signal comes; or when standard input
// ends, unless it is to be kept.
func up(args []string) error {
	keep := len(args) == 2 && args[1] == "--keep"
	if len(args) != 1 && !keep {
		return fmt.Errorf("expected DIR [--keep]")
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The children are told to end when the thread that started them does (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	plane := &plane{dir: dir, ended: make(chan error, 3)}
	defer plane.kill()
	if err := plane.start(); err != nil {
		return fmt.Errorf("%w: see the logs in %s", err, dir)
	}
	fmt.Println("kubeconfig", plane.kubeconfig())
	fmt.Println("ready")

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	closed := make(chan struct{})
	if !keep {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(closed)
		}()
	}
	select {
	case <-stop:
	case <-closed:
	case err := <-plane.ended:
		return err
	}
	return nil
}

type plane struct {
	dir      string
	children []*exec.Cmd
	ended    chan error
}

func (p *plane) file(name string) string { return filepath.Join(p.dir, name) }

func (p *plane) kubeconfig() string { return p.file("kubeconfig") }

func (p *plane) start() error {
	begun := time.Now()
	store, err := freeAddress()
	if err != nil {
		return err
	}
	server, err := freeAddress()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(server)
	if err != nil {
		return err
	}
	if err := p.writeKeys(); err != nil {
		return err
	}
	if err := p.run("etcd", p.dir, store); err != nil {
		return err
	}
	err = p.run("apiserver",
		"--etcd-servers=http://"+store,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+p.file("certificates"),
		"--token-auth-file="+p.file("tokens"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range="+serviceRanges,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file="+p.file("service-accounts.pem"),
		"--service-account-key-file="+p.file("service-accounts.pem"),
		"--endpoint-reconciler-type=none",
		"--disable-admission-plugins=ServiceAccount",
		"--enable-priority-and-fairness=false",
	)
	if err != nil {
		return err
	}
	client, err := p.connect(server)
	if err != nil {
		return err
	}
	fmt.Printf("API server at %s after %.1f s\n", server, time.Since(begun).Seconds())
	if err := addNodes(client); err != nil {
		return err
	}
	return p.run("controller-manager",
		"--kubeconfig="+p.kubeconfig(),
		"--authentication-kubeconfig="+p.kubeconfig(),
		"--authorization-kubeconfig="+p.kubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
		"--service-account-private-key-file="+p.file("service-accounts.pem"),
		"--controllers=endpointslice-controller,endpointslice-mirroring-controller,endpoints-controller,"+
			"namespace-controller,serviceaccount-controller",
	)
}

// run starts a part of this program as a process of its own, with a log in the directory.
func (p *plane) run(part string, args ...string) error {
	log, err := os.Create(p.file(part + ".log"))
	if err != nil {
		return err
	}
	child := exec.Command("/proc/self/exe", append([]string{part}, args...)...)
	child.Dir = p.dir
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return err
	}
	p.children = append(p.children, child)
	go func() { p.ended <- fmt.Errorf("%s ended: %w", part, child.Wait()) }()
	return nil
}

// kill ends the children. Asked to end, they would take some 13 seconds.
func (p *plane) kill() {
	for _, child := range p.children {
		_ = child.Process.Kill()
	}
}

// writeKeys makes what the API server wants to be given; its own certificate it makes itself.
func (p *plane) writeKeys() error {
	tokens := token + ",admin,admin,system:masters\n"
	if err := os.WriteFile(p.file("tokens"), []byte(tokens), 0o600); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(p.file("service-accounts.pem"), pem.EncodeToMemory(block), 0o600)
}

// connect writes the kubeconfig, and waits until the API server is ready.
func (p *plane) connect(server string) (*kubernetes.Clientset, error) {
	const name = "hopzero"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{
		Server:               "https://" + server,
		CertificateAuthority: p.file("certificates/apiserver.crt"),
	}
	config.AuthInfos[name] = &api.AuthInfo{Token: token}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, p.kubeconfig()); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for {
		client, err := ready(p.kubeconfig())
		if err == nil {
			return client, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the API server is not ready: %w", err)
		}
		select {
		case err := <-p.ended:
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ready(kubeconfig string) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background())
	return client, err
}

// addNodes comes before the controllers: the one for slices skips pods whose node it does not know.
func addNodes(client *kubernetes.Clientset) error {
	for i := range nodes {
		node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: "node-" + strconv.Itoa(i)}}
		if _, err := client.CoreV1().Nodes().Create(context.Background(), node, meta.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress is one of loopback that nobody listens at.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
