use super::*;

fn sites(text: &str) -> Vec<Site> {
    let mut reader = Reader::default();
    reader.file("site", text, &mut |what| match what {
        "inner.conf" => {
            vec!["location /inner { proxy_pass http://127.0.0.1:4; include inner.conf; } }".into()]
        }
        _ => Vec::new(),
    });
    reader.finish().sites
}

#[test]
fn servers_names_ports_and_where_they_lead() {
    let found = sites(
        "upstream app { server 127.0.0.1:3000 weight=2; server unix:/run/app.sock; }\n\
         # server { server_name no.example; proxy_pass http://127.0.0.1:1; }\n\
         server { listen 80; listen [::]:80; server_name a.example; return 301 https://$host$uri; }\n\
         server {\n  listen 443 ssl http2; listen [::]:443 ssl;\n  server_name a.example *.a.example \"b.example\";\n\
           location / { proxy_pass http://app/; proxy_set_header X \"a;b}\"; }\n\
           location ~ ^/api/(.*)$ { proxy_pass http://localhost:3001/$1; }\n\
           location ^~ /x { if ($a) { proxy_pass http://${b}:1; } proxy_pass https://[::1]:3443; }\n\
           include inner.conf;\n}\n",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    let site = &found[0];
    assert_eq!(site.ports, [(443, true), (443, true)]);
    assert_eq!(site.public_names().collect::<Vec<_>>(), ["a.example", "b.example"]);
    assert_eq!(site.url("a.example", "/x"), "https://a.example/x");
    let shown: Vec<String> =
        site.passes.iter().map(|pass| format!("{} {:?}", pass.location, pass.to)).collect();
    assert_eq!(
        shown,
        [
            "/ [Host(\"127.0.0.1\", 3000), Socket(\"/run/app.sock\")]",
            "/x [Host(\"::1\", 3443)]",
            "/inner [Host(\"127.0.0.1\", 4)]",
        ]
    );
    assert_eq!(site.passes_to(3000).count(), 1);
    assert_eq!(site.passes_to(3001).count(), 0);
}

#[test]
fn names_that_are_set_before() {
    for (text, expected) in [
        ("set $up http://127.0.0.1:5; location / { proxy_pass $up; }", 1),
        ("set $up 127.0.0.1; location / { proxy_pass http://${up}:5; }", 1),
        ("set $up 127.0.0.1; location / { proxy_pass http://$up:5; }", 1),
        ("set $up 127.0.0.1; set $proto $scheme; location / { proxy_pass http://$up:5; }", 1),
        ("set $up 127.0.0.1; set $at $up:5; location / { proxy_pass http://$at/x; }", 1),
        ("set $up 192.0.2.1; set $up 127.0.0.1; location / { proxy_pass http://$up:5; }", 1),
        ("set $up 127.0.0.1; location / { proxy_pass http://$upper:5; }", 0),
        ("set $up $up$up; set $up $up$up; location / { proxy_pass http://$up:5; }", 0),
        ("set $up $host; location / { proxy_pass http://${up}:5; }", 0),
        ("set $up http://127.0.0.1:5; location / { proxy_pass $upper; }", 0),
        ("location / { proxy_pass http://$host:5; }", 0),
    ] {
        let found = sites(&format!("server {{ {text} }}"));
        assert_eq!(
            found.iter().filter(|site| site.passes_to(5).next().is_some()).count(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn nothing_grows_without_end() {
    let double = "set $a $a$a$a$a;".repeat(60);
    assert_eq!(sites(&format!("server {{ {double} location / {{ proxy_pass http://$a:5; }} }}")), []);
}

#[test]
fn what_a_file_spells() {
    for (text, expected) in [
        ("proxy_pass http://localhost:3000;", true),
        ("server localhost:3000 weight=2; server localhost:30001;", true),
        ("proxy_pass http://localhost:30001;", false),
        ("proxy_pass http://localhost;", false),
        ("proxy_pass http://mylocalhost:3000;", false),
        ("proxy_pass http://localhost:3000; proxy_pass http://my-localhost:3000;", false),
        ("proxy_pass http://app;", false),
    ] {
        assert_eq!(spells(text, "localhost", 3000), expected, "{text}");
    }
    assert!(spells("proxy_pass http://[::1]:3000/;", "::1", 3000));
}

#[test]
fn what_the_main_file_includes() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(
        "etc/nginx/nginx.conf",
        "http { include conf.d/*.conf; include /srv/*/x; include vhosts/*.conf; include nginx.conf; }",
    );
    put("etc/nginx/conf.d/a.conf", "server { include parts/pass; }");
    put("etc/nginx/parts/pass", "proxy_pass http://127.0.0.1:1;");
    put("etc/nginx/vhosts/b.conf", "server { location / { proxy_pass http://127.0.0.1:2; } }");
    let files: Vec<String> =
        read(root.path(), &mut Vec::new()).sites.into_iter().map(|site| site.file).collect();
    assert_eq!(files, ["/etc/nginx/conf.d/a.conf", "/etc/nginx/vhosts/b.conf"]);
}

#[test]
fn what_is_no_configuration_is_survived() {
    for text in
        ["}", "server", "server {", "server { listen", "{{{{", "server {{ proxy_pass http://a", "\"", "\\"]
    {
        assert_eq!(sites(text), [], "{text}");
    }
    let deep = "server {".repeat(10_000);
    fuzzed(deep.as_bytes());
    fuzzed("location / { proxy_pass http://1:1; ".repeat(3_000).as_bytes());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(server|location|upstream|include|proxy_pass|listen|[{};\"'\\\\$# \n]|\\PC){0,60}") {
        fuzzed(text.as_bytes());
    }
}
