// Google's own Go clients against the sandbox. They find it by the variables that
// `dorainfra sandbox start` prints; tests/clients.rs runs them.
package clients

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
)

var project = os.Getenv("GOOGLE_CLOUD_PROJECT")

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func good(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// By STORAGE_EMULATOR_HOST, and so without credentials.
func bucket(t *testing.T) *storage.BucketHandle {
	client := must[*storage.Client](t)(storage.NewClient(context.Background()))
	t.Cleanup(func() { client.Close() })
	bucket := client.Bucket(project + "-by-go")
	uniform := storage.UniformBucketLevelAccess{Enabled: true}
	good(t, bucket.Create(t.Context(), project, &storage.BucketAttrs{Location: "EUROPE-WEST1", UniformBucketLevelAccess: uniform}))
	t.Cleanup(func() {
		ctx := context.Background()
		for objects := bucket.Objects(ctx, nil); ; {
			object, err := objects.Next()
			if err == iterator.Done {
				break
			}
			good(t, err)
			good(t, bucket.Object(object.Name).Delete(ctx))
		}
		good(t, bucket.Delete(ctx))
	})
	return bucket
}

func write(t *testing.T, object *storage.ObjectHandle, data []byte, set func(*storage.Writer)) error {
	writer := object.NewWriter(t.Context())
	if set != nil {
		set(writer)
	}
	if _, err := writer.Write(data); err != nil {
		return err
	}
	return writer.Close()
}

func read(t *testing.T, object *storage.ObjectHandle) []byte {
	t.Helper()
	reader := must[*storage.Reader](t)(object.NewReader(t.Context()))
	defer reader.Close()
	return must[[]byte](t)(io.ReadAll(reader))
}

func TestStorage(t *testing.T) {
	bucket := bucket(t)
	attributes := must[*storage.BucketAttrs](t)(bucket.Update(t.Context(), storage.BucketAttrsToUpdate{SoftDeletePolicy: &storage.SoftDeletePolicy{}}))
	if attributes.Location != "EUROPE-WEST1" {
		t.Error(attributes.Location)
	}
	small, large := bucket.Object("dir/small ü.txt"), bucket.Object("large")
	good(t, write(t, small, []byte("text"), func(writer *storage.Writer) {
		writer.ContentType, writer.Metadata = "text/plain", map[string]string{"color": "blue"}
	}))
	data := make([]byte, 700_000)
	rand.Read(data)
	good(t, write(t, large, data, func(writer *storage.Writer) { writer.ChunkSize = 256 << 10 }))
	if !bytes.Equal(read(t, large), data) || string(read(t, small)) != "text" {
		t.Error("other bytes came back")
	}
	if attributes := must[*storage.ObjectAttrs](t)(large.Attrs(t.Context())); attributes.Size != int64(len(data)) {
		t.Error(attributes.Size)
	}
	// A part of it.
	part := must[*storage.Reader](t)(large.NewRangeReader(t.Context(), 10, 5))
	if got := must[[]byte](t)(io.ReadAll(part)); !bytes.Equal(got, data[10:15]) {
		t.Error(got)
	}
	part.Close()
	var refused *googleapi.Error
	err := write(t, small.If(storage.Conditions{DoesNotExist: true}), []byte("again"), nil)
	if !errors.As(err, &refused) || refused.Code != 412 {
		t.Error(err)
	}
	object := must[*storage.ObjectAttrs](t)(small.Update(t.Context(), storage.ObjectAttrsToUpdate{ContentType: "text/html"}))
	if object.ContentType != "text/html" || object.Metadata["color"] != "blue" {
		t.Error(object)
	}
	must[*storage.ObjectAttrs](t)(bucket.Object("copied").CopierFrom(small).Run(t.Context()))
	must[*storage.ObjectAttrs](t)(bucket.Object("composed").ComposerFrom(small, bucket.Object("copied")).Run(t.Context()))
	must[*storage.ObjectAttrs](t)(bucket.Object("copied").Move(t.Context(), storage.MoveObjectDestination{Object: "moved"}))
	if got := read(t, bucket.Object("composed")); string(got) != "texttext" {
		t.Error(string(got))
	}
	var names []string
	for objects := bucket.Objects(t.Context(), &storage.Query{Prefix: "m"}); ; {
		object, err := objects.Next()
		if err == iterator.Done {
			break
		}
		good(t, err)
		names = append(names, object.Name)
	}
	if !slices.Equal(names, []string{"moved"}) {
		t.Error(names)
	}
	policy := must[any](t)(bucket.IAM().Policy(t.Context()))
	_ = policy
	if _, err := bucket.Object("absent").NewReader(t.Context()); !errors.Is(err, storage.ErrObjectNotExist) {
		t.Error(err)
	}
}
