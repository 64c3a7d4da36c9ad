"""Small container images made from nothing but a few bytes, since no image can be pulled where the tests
run."""

import gzip
import hashlib
import io
import json
import platform
import tarfile

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def layer(files):
    """An uncompressed layer: a tar of `files` (name -> bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            _member(tar, name, data)
    return buffer.getvalue()


def _layers(files):
    """`files` of one layer, or a list of such: the tar of each layer."""
    return [layer(one) for one in ([files] if isinstance(files, dict) else files)]


def _config(tars):
    return _json({
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        "history": [{"created_by": "end-to-end test"}] * len(tars),
    })


def archive(path, files, tags):
    """Writes what `docker save` writes; `docker load`, `podman load`, `skopeo copy` and `ctr import` all read
    it."""
    tars = _layers(files)
    config = _config(tars)
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    names = [hashlib.sha256(tar).hexdigest() + "/layer.tar" for tar in tars]
    manifest = _json([{"Config": config_name, "RepoTags": tags, "Layers": names}])
    with tarfile.open(path, "w") as out:
        _member(out, config_name, config)
        for name, tar in zip(names, tars):
            _member(out, name, tar)
        _member(out, "manifest.json", manifest)


def blobs(files):
    """The parts of an OCI image: (manifest, config, compressed layer, ...), each as bytes."""
    tars = _layers(files)
    # Level 0 and no time stamp: the same bytes each time, at the speed of a copy however large.
    packed = [gzip.compress(tar, compresslevel=0, mtime=0) for tar in tars]
    config = _config(tars)
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": _digest(one), "size": len(one)} for one in packed],
    })
    return (manifest, config, *packed)


def layout(directory, files, tag="latest"):
    """Writes an OCI image layout into `directory` (a Path) and returns the digest of its first layer."""
    parts = blobs(files)
    store = directory / "blobs" / "sha256"
    store.mkdir(parents=True)
    for data in parts:
        (store / hashlib.sha256(data).hexdigest()).write_bytes(data)
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_bytes(_json({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "digest": _digest(parts[0]), "size": len(parts[0]),
                       "annotations": {"org.opencontainers.image.ref.name": tag}}],
    }))
    return _digest(parts[2])
