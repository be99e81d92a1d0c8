// csi-driver keeps volumes and snapshots as folders, for the tests: what is written into a volume's folder is in the
// snapshots made of it, and in the volumes made from those. Only the controller's half of a CSI driver is here, since
// nothing mounts anything.
//
// ROOT/volumes/NAME and ROOT/snapshots/NAME hold the data; an id is such a path below ROOT, so it has a slash in it, as
// those of real clouds do. A test makes trouble through files in ROOT/faults:
//
//	CALL        the call fails: the file holds the name of the gRPC code, a space, and the message
//	CALL-waits  the call is not answered before the file is gone
//	NotReady    snapshots are not ready to use
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	name := flag.String("name", "", "the driver's name")
	root := flag.String("root", "", "the folder for everything")
	socket := flag.String("socket", "", "the Unix socket to listen at")
	flag.Parse()
	driver := &driver{name: *name, root: *root}
	for _, folder := range []string{"volumes", "snapshots", "faults"} {
		if err := os.MkdirAll(filepath.Join(*root, folder), 0o755); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(driver.trouble))
	csi.RegisterIdentityServer(server, driver)
	csi.RegisterControllerServer(server, driver)
	log.Fatal(server.Serve(listener))
}

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	name, root string
}

// record is what is known of a volume or snapshot beside its data.
type record struct {
	Size   int64     `json:"size"`
	Source string    `json:"source"`
	Made   time.Time `json:"made"`
}

// about returns the ids that a call is about.
func about(request any) []string {
	switch request := request.(type) {
	case *csi.CreateVolumeRequest:
		return []string{request.GetVolumeContentSource().GetSnapshot().GetSnapshotId()}
	case *csi.DeleteVolumeRequest:
		return []string{request.GetVolumeId()}
	case *csi.CreateSnapshotRequest:
		return []string{request.GetSourceVolumeId()}
	case *csi.DeleteSnapshotRequest:
		return []string{request.GetSnapshotId()}
	case *csi.ListSnapshotsRequest:
		return []string{request.GetSnapshotId()}
	}
	return nil
}

func (d *driver) trouble(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call, ids := path.Base(info.FullMethod), about(request)
	for d.fault(call+"-waits", ids...) != nil {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if text := d.fault(call, ids...); text != nil {
		name, message, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(`"` + name + `"`)); err != nil {
			return nil, status.Errorf(codes.Unknown, "faults/%s: %v", call, err)
		}
		return nil, status.Error(code, message)
	}
	answer, err := handler(ctx, request)
	if err != nil {
		log.Printf("%s: %v", call, err)
	}
	return answer, err
}

// fault returns what a file among the faults holds, those of everything or of an id, and nil if there is none.
func (d *driver) fault(name string, ids ...string) []byte {
	folders := []string{filepath.Join(d.root, "faults")}
	for _, id := range ids {
		for _, kind := range []string{"volumes", "snapshots"} {
			if folder, err := d.folder(kind, id); err == nil {
				folders = append(folders, filepath.Join(folder, ".faults"))
			}
		}
	}
	for _, folder := range folders {
		if text, err := os.ReadFile(filepath.Join(folder, name)); err == nil {
			return text
		}
	}
	return nil
}

// folder returns where the data of an id is.
func (d *driver) folder(kind, id string) (string, error) {
	name, found := strings.CutPrefix(id, kind+"/")
	if !found || name == "" || strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
		return "", status.Errorf(codes.NotFound, "%q is none of the %s", id, kind)
	}
	return filepath.Join(d.root, kind, name), nil
}

func look(folder string) (record, error) {
	var found record
	text, err := os.ReadFile(folder + ".json")
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	return found, err
}

// keep makes the folder and its record, or leaves them as they are. The record comes last: with it, all is there.
func keep(folder, from string, new record) (record, error) {
	if found, err := look(folder); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	if err := os.RemoveAll(folder); err != nil {
		return new, err
	}
	var err error
	if from == "" {
		err = os.Mkdir(folder, 0o755)
	} else {
		err = os.CopyFS(folder, os.DirFS(from))
	}
	if err != nil {
		return new, err
	}
	text, err := json.Marshal(new)
	if err != nil {
		return new, err
	}
	if err := os.WriteFile(folder+".new", text, 0o644); err != nil {
		return new, err
	}
	return new, os.Rename(folder+".new", folder+".json")
}

func remove(folder string) error {
	if err := os.Remove(folder + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(folder)
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: "1"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{{
		Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{
			Type: csi.PluginCapability_Service_CONTROLLER_SERVICE,
		}},
	}}}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, can := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: can}},
		})
	}
	return answer, nil
}

func (d *driver) CreateVolume(_ context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	id := "volumes/" + request.GetName()
	folder, err := d.folder("volumes", id)
	if err != nil {
		return nil, err
	}
	made := record{Size: request.GetCapacityRange().GetRequiredBytes(), Made: time.Now()}
	from := ""
	if source := request.GetVolumeContentSource(); source != nil {
		made.Source = source.GetSnapshot().GetSnapshotId()
		if from, err = d.folder("snapshots", made.Source); err != nil {
			return nil, err
		}
		snapshot, err := look(from)
		if err != nil {
			return nil, status.Errorf(codes.NotFound, "there is no snapshot %q", made.Source)
		}
		if made.Size < snapshot.Size {
			return nil, status.Errorf(codes.OutOfRange, "the snapshot needs %d bytes", snapshot.Size)
		}
	}
	if made, err = keep(folder, from, made); err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: id, CapacityBytes: made.Size, ContentSource: request.GetVolumeContentSource(),
	}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	// What is not there, or never was, is deleted.
	if folder, err := d.folder("volumes", request.GetVolumeId()); err == nil {
		if err := remove(folder); err != nil {
			return nil, err
		}
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) CreateSnapshot(_ context.Context, request *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	from, err := d.folder("volumes", request.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	id := "snapshots/" + request.GetName()
	folder, err := d.folder("snapshots", id)
	if err != nil {
		return nil, err
	}
	made, err := look(folder)
	if errors.Is(err, fs.ErrNotExist) {
		volume, missing := look(from)
		if missing != nil {
			return nil, status.Errorf(codes.NotFound, "there is no volume %q", request.GetSourceVolumeId())
		}
		made, err = keep(folder, from, record{
			Size: volume.Size, Source: request.GetSourceVolumeId(), Made: time.Now(),
		})
	}
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: d.snapshot(id, made)}, nil
}

func (d *driver) DeleteSnapshot(_ context.Context, request *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if folder, err := d.folder("snapshots", request.GetSnapshotId()); err == nil {
		if err := remove(folder); err != nil {
			return nil, err
		}
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// ListSnapshots answers the one question that csi-snapshotter has: how one snapshot fares.
func (d *driver) ListSnapshots(_ context.Context, request *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	answer := &csi.ListSnapshotsResponse{}
	if folder, err := d.folder("snapshots", request.GetSnapshotId()); err == nil {
		if found, err := look(folder); err == nil {
			answer.Entries = append(answer.Entries, &csi.ListSnapshotsResponse_Entry{
				Snapshot: d.snapshot(request.GetSnapshotId(), found),
			})
		}
	}
	return answer, nil
}

func (d *driver) snapshot(id string, found record) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:     id,
		SourceVolumeId: found.Source,
		SizeBytes:      found.Size,
		CreationTime:   timestamppb.New(found.Made),
		ReadyToUse:     d.fault("NotReady", id) == nil,
	}
}
