//! Cloud Storage: buckets, objects, preconditions, uploads, media, XML, and the
//! official Rust client.
use crate::coverage;
use crate::sandbox_support::*;
use dorainfra_gcp_sandbox::machine::NoMachines;
use reqwest::Method;
use serde_json::{Value, json};

const BUCKET: &str = "storage-bucket";

async fn with_bucket() -> Sandbox {
    let sandbox = start().await;
    sandbox.bucket(BUCKET).await;
    sandbox
}

#[tokio::test]
async fn bucket_names_are_everybodys() {
    let sandbox = with_bucket().await;
    let path = format!("storage/v1/b?project={PROJECT}");
    let own = sandbox.refused(Method::POST, &path, Some(json!({"name": BUCKET})), 409).await;
    assert_eq!(own, "Your previous request to create the named bucket succeeded and you already own it.");
    sandbox.post("sandbox/foreign", json!({"bucket": "taken-bucket"})).await;
    let other = sandbox.refused(Method::POST, &path, Some(json!({"name": "taken-bucket"})), 409).await;
    assert!(other.starts_with("The requested bucket name is not available."), "{other}");
    sandbox.refused(Method::GET, "storage/v1/b/taken-bucket", None, 403).await;
    let missing = sandbox.refused(Method::GET, "storage/v1/b/missing-bucket", None, 404).await;
    assert_eq!(missing, "The specified bucket does not exist.");
    sandbox.refused(Method::POST, &path, Some(json!({"name": "Bad_Name"})), 400).await;
    sandbox.refused(Method::POST, "storage/v1/b", Some(json!({"name": "no-project"})), 400).await;
    sandbox.refused(Method::POST, &path, Some(json!({"name": "abc", "colour": "red"})), 400).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_bucket_is_configured_patched_and_deleted_when_empty() {
    let sandbox = with_bucket().await;
    let path = format!("storage/v1/b/{BUCKET}");
    let patch = json!({
        "labels": {"team": "a"}, "softDeletePolicy": {"retentionDurationSeconds": "0"},
        "lifecycle": {"rule": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}]},
        "versioning": {"enabled": false},
    });
    let (status, patched) = sandbox.call(Method::PATCH, &path, Some(patch)).await;
    assert_eq!(status, 200, "{patched}");
    assert_eq!(patched["metageneration"], "2");
    assert_eq!(patched["softDeletePolicy"]["retentionDurationSeconds"], "0");
    assert_eq!(patched["iamConfiguration"]["publicAccessPrevention"], "enforced");
    let stale = format!("{path}?ifMetagenerationMatch=1");
    sandbox.refused(Method::PATCH, &stale, Some(json!({"labels": {"team": null}})), 412).await;
    let (_, patched) = sandbox.call(Method::PATCH, &path, Some(json!({"labels": {"team": null}}))).await;
    assert_eq!(patched["labels"], json!({}));
    sandbox.upload(BUCKET, "a", b"x").await;
    let message = sandbox.refused(Method::DELETE, &path, None, 409).await;
    assert_eq!(message, "The bucket you tried to delete is not empty.");
    assert_eq!(sandbox.delete(&format!("{path}/o/a")).await.0, 204);
    assert_eq!(sandbox.delete(&path).await.0, 204);
    assert_eq!(sandbox.get(&path).await.0, 404);
    let list = sandbox.read(&format!("storage/v1/b?project={PROJECT}")).await;
    assert!(list["items"].is_null());
    sandbox.stop().await;
}

#[tokio::test]
async fn generations_are_preconditions() {
    let sandbox = with_bucket().await;
    let upload = |condition: String| {
        let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=lease{condition}");
        let request = sandbox.request(Method::POST, &path).body("held");
        async move { answer(request.send().await.unwrap()).await }
    };
    let (status, first) = upload("&ifGenerationMatch=0".into()).await;
    assert_eq!(status, 200, "{first}");
    let (status, body) = upload("&ifGenerationMatch=0".into()).await;
    assert_eq!((status, &body["error"]["errors"][0]["reason"]), (412, &json!("conditionNotMet")));
    let generation = first["generation"].as_str().unwrap();
    let (status, second) = upload(format!("&ifGenerationMatch={generation}")).await;
    assert_eq!(status, 200);
    assert!(second["generation"].as_str().unwrap() > generation, "both have as many digits");
    assert_eq!(upload(format!("&ifGenerationMatch={generation}")).await.0, 412);
    let object = format!("storage/v1/b/{BUCKET}/o/lease");
    let now = second["generation"].as_str().unwrap();
    assert_eq!(sandbox.get(&format!("{object}?ifGenerationNotMatch={now}")).await.0, 304);
    assert_eq!(sandbox.get(&format!("{object}?ifGenerationMatch={generation}")).await.0, 412);
    assert_eq!(sandbox.get(&format!("{object}?generation={generation}")).await.0, 404, "it was replaced");
    assert_eq!(sandbox.delete(&format!("{object}?ifGenerationMatch={generation}")).await.0, 412);
    assert_eq!(sandbox.delete(&format!("{object}?ifGenerationMatch={now}")).await.0, 204);
    assert_eq!(std::fs::read_dir(sandbox.state.dir.join("objects")).unwrap().count(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn media_comes_with_checksums_and_in_ranges() {
    let sandbox = with_bucket().await;
    let object = sandbox.upload(BUCKET, "a", b"123456789").await;
    assert_eq!(object["crc32c"], "4waSgw==", "the check value of CRC-32C");
    for path in [
        format!("storage/v1/b/{BUCKET}/o/a?alt=media"),
        format!("download/storage/v1/b/{BUCKET}/o/a?alt=media"),
        format!("{BUCKET}/a"),
    ] {
        let response = sandbox.request(Method::GET, &path).header("range", "bytes=2-4").send().await.unwrap();
        assert_eq!(response.status(), 206, "{path}");
        assert_eq!(response.headers()["content-range"], "bytes 2-4/9");
        assert_eq!(response.headers()["x-goog-generation"], object["generation"].as_str().unwrap());
        assert!(response.headers()["x-goog-hash"].to_str().unwrap().starts_with("crc32c=4waSgw=="));
        assert_eq!(response.text().await.unwrap(), "345");
    }
    let beyond = sandbox.request(Method::GET, &format!("{BUCKET}/a")).header("range", "bytes=9-");
    assert_eq!(beyond.send().await.unwrap().status(), 416);
    let head = sandbox.request(Method::HEAD, &format!("{BUCKET}/a")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "9"));
    let missing = sandbox.request(Method::GET, &format!("{BUCKET}/none")).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.unwrap().contains("<Code>NoSuchKey</Code>"));
    let put =
        sandbox.request(Method::PUT, &format!("{BUCKET}/x/y")).header("x-goog-meta-team", "a").body("xml");
    assert_eq!(put.send().await.unwrap().status(), 200);
    let read = sandbox.read(&format!("storage/v1/b/{BUCKET}/o/x%2Fy")).await;
    assert_eq!(read["metadata"], json!({"team": "a"}));
    let delete = sandbox.request(Method::DELETE, &format!("{BUCKET}/x/y"));
    assert_eq!(delete.send().await.unwrap().status(), 204);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let sandbox = with_bucket().await;
    let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a");
    let request = sandbox.request(Method::POST, &path).header("x-goog-hash", "crc32c=AAAAAA==").body("bytes");
    let (status, body) = answer(request.send().await.unwrap()).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(sandbox.get(&format!("storage/v1/b/{BUCKET}/o/a")).await.0, 404);
    assert_eq!(std::fs::read_dir(sandbox.state.dir.join("objects")).unwrap().count(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn multipart_uploads_carry_metadata() {
    let sandbox = with_bucket().await;
    let body = "--sep\r\nContent-Type: application/json\r\n\r\n{\"name\":\"m\",\"metadata\":{\"k\":\"v\"}}\r\n\
                --sep\r\nContent-Type: text/plain\r\n\r\nhello\r\n--sep--";
    let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=multipart");
    let request =
        sandbox.request(Method::POST, &path).header("content-type", "multipart/related; boundary=sep");
    let (status, object) = answer(request.body(body).send().await.unwrap()).await;
    assert_eq!(status, 200, "{object}");
    assert_eq!((&object["size"], &object["contentType"]), (&json!("5"), &json!("text/plain")));
    let (_, patched) = sandbox
        .call(
            Method::PATCH,
            &format!("storage/v1/b/{BUCKET}/o/m"),
            Some(json!({"metadata": {"k": null, "n": "w"}})),
        )
        .await;
    assert_eq!((&patched["metadata"], &patched["metageneration"]), (&json!({"n": "w"}), &json!("2")));
    assert_eq!(patched["generation"], object["generation"]);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_resumable_upload_goes_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = try_start(options(dir.path())).await.unwrap();
    sandbox.bucket(BUCKET).await;
    let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big");
    let response =
        sandbox.request(Method::POST, &path).json(&json!({"metadata": {"a": "b"}})).send().await.unwrap();
    let session = response.headers()["location"].to_str().unwrap().to_owned();
    let bytes: Vec<u8> = (0..600_000u32).map(|each| each as u8).collect();
    let put = |sandbox: &Sandbox, range: String, body: Vec<u8>| {
        // The session's address is all that it takes.
        let request = sandbox.http.put(&session).header("content-range", range).body(body);
        async move { request.send().await.unwrap() }
    };
    let response = put(&sandbox, "bytes 0-299999/*".into(), bytes[..300_000].to_vec()).await;
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["range"], "bytes=0-262143", "only whole units are kept");
    sandbox.kill().await;
    let sandbox = try_start(options(dir.path())).await.unwrap();
    let response = put(&sandbox, "bytes */600000".into(), Vec::new()).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["range"].to_str().unwrap()),
        (308, "bytes=0-262143")
    );
    let response = put(&sandbox, "bytes 500000-599999/600000".into(), bytes[500_000..].to_vec()).await;
    assert_eq!(response.status(), 503, "a gap");
    let response = put(&sandbox, "bytes 262144-599999/600000".into(), bytes[262_144..].to_vec()).await;
    let (status, object) = answer(response).await;
    assert_eq!((status, &object["size"]), (200, &json!("600000")));
    let (_, again) = answer(put(&sandbox, "bytes */600000".into(), Vec::new()).await).await;
    assert_eq!(again["generation"], object["generation"], "the last answer is given again");
    let read = sandbox.request(Method::GET, &format!("{BUCKET}/big")).send().await.unwrap();
    assert_eq!(read.bytes().await.unwrap(), bytes);
    sandbox.stop().await;
}

#[tokio::test]
async fn lists_have_prefixes_pages_and_versions() {
    let sandbox = with_bucket().await;
    let versioned = json!({"versioning": {"enabled": true}});
    sandbox.call(Method::PATCH, &format!("storage/v1/b/{BUCKET}"), Some(versioned)).await;
    for name in ["a", "dir/one", "dir/two", "dir/sub/three", "z"] {
        sandbox.upload(BUCKET, name, b"x").await;
    }
    let list = |query: &str| {
        let path = format!("storage/v1/b/{BUCKET}/o?{query}");
        let sandbox = &sandbox;
        async move { sandbox.read(&path).await }
    };
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["name"].as_str().unwrap().into())
            .collect()
    };
    let top = list("delimiter=/").await;
    assert_eq!((names(&top), &top["prefixes"]), (vec!["a".into(), "z".into()], &json!(["dir/"])));
    let below = list("delimiter=/&prefix=dir/").await;
    assert_eq!(names(&below), ["dir/one", "dir/two"]);
    assert_eq!(below["prefixes"], json!(["dir/sub/"]));
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("maxResults=2&pageToken={token}")).await;
        seen.extend(names(&page));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "dir/one", "dir/sub/three", "dir/two", "z"]);
    let old = sandbox.read(&format!("storage/v1/b/{BUCKET}/o/a")).await;
    sandbox.upload(BUCKET, "a", b"newer").await;
    assert_eq!(names(&list("prefix=a").await), ["a"]);
    assert_eq!(names(&list("prefix=a&versions=true").await), ["a", "a"]);
    let generation = old["generation"].as_str().unwrap();
    let path = format!("storage/v1/b/{BUCKET}/o/a?alt=media&generation={generation}");
    let bytes = sandbox.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert_eq!(bytes, "x");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_rust_client_works_with_it() {
    let sandbox = start_with(|_| std::sync::Arc::new(NoMachines)).await;
    sandbox.bucket(BUCKET).await;
    let credentials = Token(sandbox.token.clone());
    let client = google_cloud_storage::client::Storage::builder()
        .with_endpoint(format!("http://127.0.0.1:{}", sandbox.state.port))
        .with_credentials(google_cloud_auth::credentials::Credentials::from(credentials))
        .build()
        .await
        .unwrap();
    let bucket = format!("projects/_/buckets/{BUCKET}");
    let small = client.write_object(&bucket, "dir/small", "hello").set_if_generation_match(0);
    let written = small.send_buffered().await.unwrap();
    assert_eq!(written.size, 5);
    let again = client.write_object(&bucket, "dir/small", "hello").set_if_generation_match(0);
    assert_eq!(again.send_buffered().await.unwrap_err().http_status_code(), Some(412));

    let bytes: Vec<u8> = (0..20_000_000u32).map(|each| (each >> 8) as u8).collect();
    let big = client.write_object(&bucket, "big", bytes::Bytes::from(bytes.clone()));
    assert_eq!(big.send_buffered().await.unwrap().size, 20_000_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes[..9_000_000]).unwrap();
    let source = tokio::fs::File::open(file.path()).await.unwrap();
    let from_file = client.write_object(&bucket, "from-file", source).set_metadata([("sha", "x")]);
    assert_eq!(from_file.send_unbuffered().await.unwrap().size, 9_000_000);

    let mut reader = client.read_object(&bucket, "big").send().await.unwrap();
    assert!(reader.object().generation > 0);
    let mut read = Vec::new();
    while let Some(chunk) = reader.next().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    assert!(read == bytes, "{} bytes came back", read.len());
    let range = google_cloud_storage::model_ext::ReadRange::segment(1000, 10);
    let mut reader = client.read_object(&bucket, "big").set_read_range(range).send().await.unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = reader.next().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(read, bytes[1000..1010]);
    let missing = client.read_object(&bucket, "none").send().await.unwrap_err();
    assert_eq!(missing.http_status_code(), Some(404));
    let mut requests = sandbox.read("sandbox/requests").await;
    let official = |entry: &Value| entry["client"].as_str().unwrap().contains("gl-rust/");
    requests["requests"].as_array_mut().unwrap().retain(official);
    coverage::holds("rust-client", &coverage::called(&requests));
    sandbox.stop().await;
}

/// Credentials that are one token.
#[derive(Debug)]
struct Token(String);

impl google_cloud_auth::credentials::CredentialsProvider for Token {
    async fn headers(
        &self,
        _extensions: http::Extensions,
    ) -> Result<
        google_cloud_auth::credentials::CacheableResource<http::HeaderMap>,
        google_cloud_auth::errors::CredentialsError,
    > {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
        let entity_tag = google_cloud_auth::credentials::EntityTag::new();
        Ok(google_cloud_auth::credentials::CacheableResource::New { entity_tag, data: headers })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn what_was_soft_deleted_and_composed_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = try_start(options(dir.path())).await.unwrap();
    let path = format!("storage/v1/b?project={PROJECT}");
    sandbox.post(&path, json!({"name": BUCKET, "location": "EUROPE-WEST1"})).await;
    let (one, _) = (sandbox.upload(BUCKET, "one", b"1").await, sandbox.upload(BUCKET, "two", b"2").await);
    let sources = json!({"sourceObjects": [{"name": "one"}, {"name": "two"}]});
    let compose = format!("storage/v1/b/{BUCKET}/o/both/compose");
    assert_eq!(sandbox.post(&compose, sources).await.1["componentCount"], 2);
    assert_eq!(sandbox.delete(&format!("storage/v1/b/{BUCKET}/o/one")).await.0, 204);
    sandbox.kill().await;
    let sandbox = try_start(options(dir.path())).await.unwrap();
    let both = sandbox.request(Method::GET, &format!("{BUCKET}/both")).send().await.unwrap();
    assert_eq!(both.text().await.unwrap(), "12");
    let generation = one["generation"].as_str().unwrap();
    let restore = format!("storage/v1/b/{BUCKET}/o/one/restore?generation={generation}");
    assert_eq!(sandbox.post(&restore, json!({})).await.0, 200);
    let read = sandbox.request(Method::GET, &format!("{BUCKET}/one")).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "1");
    // Both are one file's bytes; that one of them goes does the other no harm.
    assert_eq!(std::fs::read_dir(dir.path().join("objects")).unwrap().count(), 4);
    sandbox.stop().await;
}

#[tokio::test]
async fn keys_of_the_customers_own_are_refused_by_name() {
    let sandbox = with_bucket().await;
    let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a");
    let request =
        sandbox.request(Method::POST, &path).header("x-goog-encryption-algorithm", "AES256").body("x");
    let (status, body) = answer(request.send().await.unwrap()).await;
    assert_eq!(status, 501);
    assert!(body["error"]["message"].as_str().unwrap().contains("encryption keys"), "{body}");
    sandbox.stop().await;
}

#[tokio::test]
async fn names_that_google_keeps_for_itself_are_refused() {
    let sandbox = start().await;
    sandbox.bucket(BUCKET).await;
    let buckets = format!("storage/v1/b?project={PROJECT}");
    for name in ["my-google-logs", "my-g00gle-logs", "goog-logs"] {
        sandbox.refused(Method::POST, &buckets, Some(json!({"name": name})), 400).await;
    }
    let object = |name: &str| {
        let name = name.replace('/', "%2F");
        let path = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}");
        sandbox.request(Method::POST, &path).body("x").send()
    };
    assert_eq!(object(".well-known/acme-challenge/x").await.unwrap().status(), 400);
    assert_eq!(object(".well-known/other").await.unwrap().status(), 200);
    sandbox.stop().await;
}
