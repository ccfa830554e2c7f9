//! A world outside the machine: a network namespace within it, reached over a gateway, with a
//! resolver; and a reverse proxy on the machine's own public address, whose certificate is signed by
//! an authority that the machine trusts.
//!
//! The machine is 192.0.2.2, gateway and resolver are 192.0.2.1, `shop.example` is the machine.

use std::time::Duration;

use super::{Machine, wait_for};

/// The name that the app is public under.
pub const NAME: &str = "shop.example";

/// The resolver.
const DNS: &str = include_str!("../app/dns.js");

const SOON: Duration = Duration::from_secs(15);

impl Machine {
    /// Makes an authority of one's own, which nobody trusts yet.
    #[track_caller]
    pub fn make_authority(&self) {
        self.must(
            "set -e; mkdir -p /srv/tls && cd /srv/tls
             openssl req -quiet -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
                 -subj '/CN=Lab authority' -keyout ca.key -out ca.pem 2>/dev/null \
             || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
                 -subj '/CN=Lab authority' -keyout ca.key -out ca.pem 2>/dev/null",
        );
    }

    /// Trusts it, as an administrator has his machine trust his company's.
    #[track_caller]
    pub fn trust_authority(&self) {
        self.must(
            "install -m 0644 /srv/tls/ca.pem /usr/local/share/ca-certificates/lab.crt
             update-ca-certificates 2>&1",
        );
    }

    /// Makes the world, and nginx with a certificate that is valid for 90 days in front of port 3000.
    #[track_caller]
    pub fn make_world(&self) {
        self.write("/srv/world/dns.js", DNS);
        self.resolve_to("192.0.2.2");
        self.write("/etc/resolv.conf", "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n");
        self.must(
            "set -e
             ip link set lo up
             ip netns add world
             ip link add out type veth peer name in netns world
             ip addr add 192.0.2.2/24 dev out
             ip link set out up
             ip -n world addr add 192.0.2.1/24 dev in
             ip -n world link set lo up
             ip -n world link set in up
             ip route add default via 192.0.2.1
             systemd-run --quiet --unit=world-dns ip netns exec world node /srv/world/dns.js",
        );
        self.make_authority();
        self.trust_authority();
        self.certify(NAME, "-days 90");
        self.proxy_to(3000);
        self.must("systemctl start nginx");
        wait_for(SOON, "the public name is served", || {
            self.run(&format!("curl --silent --fail --max-time 2 https://{NAME}/")).ok().then_some(())
        });
    }

    /// What the public name resolves to from now on; no such name when it is empty.
    #[track_caller]
    pub fn resolve_to(&self, address: &str) {
        let line = if address.is_empty() { String::new() } else { format!("{NAME} {address}\n") };
        self.write("/srv/world/zone", &line);
    }

    /// Gives the proxy a certificate for that name, and for so long: `-days 90`. It takes effect with
    /// the next reload. Whoever else serves with it has to be given it.
    #[track_caller]
    pub fn certify(&self, name: &str, validity: &str) {
        self.must(&format!(
            "set -e; cd /srv/tls
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                 -subj '/CN={name}' -addext 'subjectAltName=DNS:{name}' -keyout site.key -out site.csr 2>/dev/null
             openssl x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
                 {validity} -out site.pem 2>/dev/null"
        ));
    }

    /// Has the proxy pass everything to a port, from the next reload on. /gone is no page of its.
    #[track_caller]
    pub fn proxy_to(&self, port: u16) {
        self.write(
            "/etc/nginx/sites-enabled/default",
            &format!(
                "server {{
                     listen 80;
                     listen 443 ssl;
                     server_name {NAME};
                     ssl_certificate /srv/tls/site.pem;
                     ssl_certificate_key /srv/tls/site.key;
                     location / {{ proxy_pass http://127.0.0.1:{port}; }}
                     location = /page {{ root /srv/pages; }}
                 }}
                 "
            ),
        );
        self.write("/srv/pages/page", "welcome\n");
    }
}
