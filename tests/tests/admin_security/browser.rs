//! What a browser must show where the node has tokens, and what that opens.

use lattice_tests::http;

use super::{LATEST, LOOPBACK, Site, token};
use lattice_tests::wait_until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_logs_in_by_a_token_and_its_cookie_opens_pages_only() {
    let folder = tempfile::tempdir().unwrap();
    let reader = token(folder.path(), "reader", "read", &[]).await;
    let file = super::path(folder.path(), "tokens.toml");
    let other = token(folder.path(), "other", "write", &[]).await;
    std::fs::write(&file, format!("{reader}\n{other}")).unwrap();
    let site = Site::start(folder, LOOPBACK, &["--admin-tokens", "{}tokens.toml"]).await;
    let secret = std::fs::read_to_string(site.path("reader.secret")).unwrap();
    let (admin, secret) = (site.admin(), secret.trim());
    let writer = std::fs::read_to_string(site.path("other.secret")).unwrap();

    // Whoever shows nothing is sent to the form, and back afterwards.
    let refused = http::get(&admin, "/actors/greeter").await;
    assert_eq!((refused.status, refused.header("location")), (303, encoded("/actors/greeter").as_str()));
    assert!(refused.body.is_empty(), "{refused:?}");
    assert_eq!(http::get(&admin, "/live?page=/").await.status, 401);
    let form = http::get(&admin, refused.header("location")).await;
    assert!(form.status == 200 && form.body.contains(r#"value="/actors/greeter""#), "{form:?}");
    assert_eq!(http::get(&admin, "/assets/style.css").await.status, 200);

    for path in [
        "/",
        "/events",
        "/?all=1",
        "/events/",
        "//",
        "//events",
        "/Events",
        "/actors/x/",
        "/actors//x",
        "/%2e/",
    ] {
        let answer = http::get(&admin, path).await;
        assert!(answer.status != 200 && answer.body.len() < 500, "{path}: {answer:?}");
    }

    let wrong = http::post(&admin, "/login", "token=lat_wrong&to=/").await;
    assert!(wrong.status == 401 && wrong.header("set-cookie").is_empty(), "{wrong:?}");
    for bad in ["", "token=", "token=a%3Bb", "token=%0d%0aset-cookie:x"] {
        let refused = http::post(&admin, "/login", bad).await;
        assert!(
            (400..500).contains(&refused.status) && refused.header("set-cookie").is_empty(),
            "{refused:?}"
        );
    }
    // What may change things does not belong into a browser, neither by the form nor by itself.
    let more = http::post(&admin, "/login", &format!("token={}&to=/", writer.trim())).await;
    assert!(more.status == 401 && more.header("set-cookie").is_empty(), "{more:?}");
    assert!(more.body.contains("--role read"), "{more:?}");
    let own = format!("lattice-token={}", writer.trim());
    assert_eq!(http::get_with(&admin, "/", &[("cookie", &own)]).await.status, 303);
    assert_eq!(http::get_as(&admin, "/", Some(writer.trim())).await.status, 200);
    let long = format!("token={}", "a".repeat(10_000));
    assert_eq!(http::post(&admin, "/login", &long).await.status, 413);

    let right = http::post(&admin, "/login", &format!("token={secret}&to=/actors/greeter")).await;
    assert_eq!((right.status, right.header("location")), (303, "/actors/greeter"));
    let cookie = right.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let away = http::post(&admin, "/login", &format!("token={secret}&to=//evil.example")).await;
    assert_eq!(away.header("location"), "/");

    let shown = cookie.split(';').next().unwrap();
    let with = [("cookie", shown)];
    let page = http::get_with(&admin, "/", &with).await;
    assert!(page.status == 200 && page.body.contains("Log out") && !page.body.contains(secret), "{page:?}");
    // A cookie goes along with whatever a browser is led to, so that it opens nothing but pages.
    assert_eq!(http::get_with(&admin, "/metrics", &with).await.status, 401);
    assert_eq!(http::get_as(&admin, "/metrics", Some(secret)).await.status, 200);
    let call = [with[0], ("content-type", "application/grpc")];
    let asked = http::post_with(&admin, "/lattice.admin.v1.Admin/ListNodes", &call, "").await;
    assert_eq!(asked.header("grpc-status"), "16", "{asked:?}");

    let out = http::post(&admin, "/logout", "").await;
    assert!(out.status == 303 && out.header("set-cookie").contains("Max-Age=0"), "{out:?}");

    // What is struck from the file opens nothing any more.
    std::fs::write(&file, &other).unwrap();
    let status = async || http::get_with(&admin, "/", &with).await.status;
    wait_until("the cookie opens nothing any more", LATEST, status, |status| *status == 303).await;
    assert!(!site.node.output().contains(secret), "secrets must not be logged");
}

fn encoded(path: &str) -> String {
    let to: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/login?to={to}")
}
