package main

import (
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd runs a store of one member until the process ends: in DIR, for clients at ADDRESS.
func etcd(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("expected DIR ADDRESS")
	}
	client := url.URL{Scheme: "http", Host: args[1]}
	peer := url.URL{Scheme: "unix", Host: "etcd-peer.sock"}
	config := embed.NewConfig()
	config.Dir = filepath.Join(args[0], "etcd")
	config.LogLevel = "warn"
	// Nothing here outlives a crash of the machine.
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{client}
	config.AdvertiseClientUrls = []url.URL{client}
	config.ListenPeerUrls = []url.URL{peer}
	config.AdvertisePeerUrls = []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	return <-server.Err()
}
