//! The files of an OCI image layout.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Write as _, path::Path};

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Every time in the image.
const EPOCH: &str = "1970-01-01T00:00:00Z";
const ANNOTATION: &str = "org.opencontainers.image";

/// Files by their path.
pub struct Image {
    files: BTreeMap<String, Vec<u8>>,
    digest: String,
}

impl Image {
    /// With this program, which is all that is in it.
    pub fn new(program: &[u8], version: &str) -> Result<Self> {
        let mut image = Self {
            files: BTreeMap::new(),
            digest: String::new(),
        };
        let layer = tar(&[("hopzero", 0o755, program)])?;
        let unpacked = digest(&layer);
        // Without a name and a time.
        let mut compressed = GzBuilder::new().write(Vec::new(), Compression::best());
        compressed.write_all(&layer)?;
        let layer = image.blob(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            compressed.finish()?,
        );
        let labels = json!({
            format!("{ANNOTATION}.title"): "hopzero",
            format!("{ANNOTATION}.description"): "Cluster DNS for Kubernetes, answered in the kernel",
            format!("{ANNOTATION}.version"): version,
            format!("{ANNOTATION}.licenses"): env!("CARGO_PKG_LICENSE"),
            format!("{ANNOTATION}.source"): env!("CARGO_PKG_REPOSITORY"),
        });
        let config = json!({
            "created": EPOCH,
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/hopzero"], "WorkingDir": "/", "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [unpacked]},
            "history": [{"created": EPOCH, "created_by": "cargo xtask image"}],
        });
        let config = image.blob("application/vnd.oci.image.config.v1+json", bytes(&config));
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config,
            "layers": [layer],
            "annotations": labels,
        });
        let mut manifest = image.blob(manifest_type, bytes(&manifest));
        let digest = manifest["digest"].as_str();
        image.digest = digest.map(str::to_owned).unwrap_or_default();
        manifest["annotations"] = json!({
            format!("{ANNOTATION}.ref.name"): version,
            // What containerd and Docker call it.
            "io.containerd.image.name": format!("ghcr.io/hopzero/hopzero:{version}"),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        });
        image.files.insert("index.json".to_owned(), bytes(&index));
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        image.files.insert("oci-layout".to_owned(), bytes(&layout));
        Ok(image)
    }

    /// Keeps a blob, and returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let path = format!("blobs/{}", digest.replace(':', "/"));
        self.files.insert(path, bytes);
        descriptor
    }

    /// What a registry will call it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// As a directory.
    pub fn write_directory(&self, directory: &Path) -> Result<()> {
        for (path, bytes) in &self.files {
            let path = directory.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// As one file.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let files = self.files.iter();
        let files: Vec<_> = files
            .map(|(path, bytes)| (&**path, 0o644, &**bytes))
            .collect();
        tar(&files)
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Name, mode and contents of each file; all of them are root's, and as old as can be.
fn tar(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, contents) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        builder.append_data(&mut header, name, *contents)?;
    }
    Ok(builder.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn json(image: &Image, path: &str) -> Value {
        serde_json::from_slice(&image.files[path]).unwrap()
    }

    /// The blob of a descriptor, which is what the descriptor says.
    fn blob<'a>(image: &'a Image, descriptor: &Value) -> &'a [u8] {
        let name = descriptor["digest"].as_str().unwrap();
        let blob = &image.files[&format!("blobs/{}", name.replace(':', "/"))];
        assert_eq!(digest(blob), name);
        assert_eq!(descriptor["size"], blob.len());
        blob
    }

    #[test]
    fn the_same_program_is_the_same_image() {
        let [one, two] = [(); 2].map(|()| Image::new(b"program", "1.0").unwrap());
        assert_eq!(one.files, two.files);
        assert_eq!(one.archive().unwrap(), two.archive().unwrap());
        let other = Image::new(b"programs", "1.0").unwrap();
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn every_descriptor_leads_to_its_blob() {
        let image = Image::new(b"program", "1.0").unwrap();
        let index = json(&image, "index.json");
        assert_eq!(index["manifests"][0]["digest"], image.digest());
        let manifest: Value = serde_json::from_slice(blob(&image, &index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&image, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/hopzero");
        let mut layer = Vec::new();
        GzDecoder::new(blob(&image, &manifest["layers"][0]))
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let mut archive = tar::Archive::new(&*layer);
        let mut entries = archive.entries().unwrap();
        let mut only = entries.next().unwrap().unwrap();
        let header = only.header();
        assert_eq!(header.path().unwrap().to_str(), Some("hopzero"));
        assert_eq!(
            (header.mode().unwrap(), header.mtime().unwrap()),
            (0o755, 0)
        );
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let mut contents = Vec::new();
        only.read_to_end(&mut contents).unwrap();
        assert_eq!(contents, b"program");
        assert!(entries.next().is_none());
    }
}
