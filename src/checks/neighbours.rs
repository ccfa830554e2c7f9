//! The default gateways of this host, and whether the kernel has heard of them lately.
//!
//! A gateway answers neither ping nor connection to whom it does not know, but has to answer ARP and
//! neighbour discovery. Reads the routes in `/proc/net` and asks the kernel's neighbour table over
//! rtnetlink(7), which everybody may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use super::netlink::{Netlink, attributes, u16_at, u32_at};
use super::world::World;

// linux/rtnetlink.h, linux/neighbour.h
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NUD_REACHABLE: u16 = 0x02;
// linux/route.h, linux/ipv6_route.h
const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;

/// Default gateways that are looked at.
const MAX_GATEWAYS: usize = 4;
/// Bytes of a routing table that are read. A host with more routes is a router.
const MAX_TABLE: usize = 256 * 1024;
/// Reads of the kernel's answer: some 1500 neighbours.
const MAX_READS: usize = 16;

/// A default gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gateway {
    /// Its address.
    pub ip: IpAddr,
    /// The interface that it is behind; 0 where the address alone tells.
    pub interface: u32,
}

impl Gateway {
    /// The address of a port there. A link-local address needs its interface.
    pub(super) fn at(self, port: u16) -> std::net::SocketAddr {
        match self.ip {
            IpAddr::V4(_) => (self.ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.interface).into(),
        }
    }
}

/// The default gateways of both families, four at most.
pub(super) fn gateways(world: &World) -> Vec<Gateway> {
    let table = |path: &str| {
        let bytes = world.read(&world.path(path), MAX_TABLE).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut found: Vec<Gateway> = table("proc/net/route").lines().filter_map(v4).collect();
    found.extend(table("proc/net/ipv6_route").lines().filter_map(|line| v6(world, line)));
    found.dedup();
    found.truncate(MAX_GATEWAYS);
    found
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses as the kernel has them in
/// memory.
fn v4(line: &str) -> Option<Gateway> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let mut number = || u32::from_str_radix(words.next()?, 16).ok();
    let (to, gateway, flags) = (number()?, number()?, number()?);
    let mask = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let wanted = to == 0 && mask == 0 && gateway != 0 && flags & (RTF_UP | RTF_GATEWAY) == 3;
    wanted.then(|| Gateway { ip: Ipv4Addr::from(gateway.to_ne_bytes()).into(), interface: 0 })
}

/// `destination length source length next-hop metric references use flags interface`.
fn v6(world: &World, line: &str) -> Option<Gateway> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [to, "00", _, _, gateway, _, _, _, flags, interface] = words[..] else { return None };
    let number = |hex| u128::from_str_radix(hex, 16).ok();
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let gateway = number(gateway).filter(|gateway| *gateway != 0)?;
    if number(to)? != 0 || flags & (RTF_UP | RTF_GATEWAY) != 3 || interface.contains('/') {
        return None;
    }
    let index = world.read(&world.path(&format!("sys/class/net/{interface}/ifindex")), 16).ok()?;
    let interface = String::from_utf8_lossy(&index).trim().parse().ok()?;
    Some(Gateway { ip: Ipv6Addr::from(gateway).into(), interface })
}

/// The first of those gateways that has answered within the last half minute or so (arp(7),
/// base_reachable_time), as the kernel saw.
pub(super) fn heard(gateways: &[Gateway]) -> Option<Gateway> {
    if gateways.is_empty() {
        return None;
    }
    // NETLINK_ROUTE is protocol 0.
    let mut kernel = Netlink::open(None).ok()?;
    let mut found = None;
    // Whatever was read before the kernel broke off counts.
    let _ = kernel.dump(RTM_GETNEIGH, &[0; NDMSG], 1, RTM_NEWNEIGH, MAX_READS, &mut |payload| {
        if let Some((ip, interface)) = reachable(payload)? {
            let fits = |known: &&Gateway| known.ip == ip && [0, interface].contains(&known.interface);
            found = found.or_else(|| gateways.iter().find(fits).copied());
        }
        Some(())
    });
    found
}

/// `struct ndmsg` and its attributes: the address and interface of one in state REACHABLE.
fn reachable(payload: &[u8]) -> Option<Option<(IpAddr, u32)>> {
    let (fixed, rest) = payload.split_at_checked(NDMSG)?;
    if u16_at(fixed, 8)? & NUD_REACHABLE == 0 {
        return Some(None);
    }
    let to = attributes(rest).find(|(kind, _)| *kind == NDA_DST).and_then(|(_, value)| match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    });
    Some(to.zip(u32_at(fixed, 4)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::world::tests::Fake;
    use super::*;

    #[test]
    fn gateways_of_both_families() {
        let fake = Fake::new();
        let gateway = u32::from_ne_bytes([192, 0, 2, 1]);
        fake.file(
            "proc/net/route",
            format!(
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                 eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                 eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                 ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
            ),
        );
        let zero = "0".repeat(32);
        let hop = format!("fe80{}1", "0".repeat(27));
        fake.file(
            "proc/net/ipv6_route",
            format!(
                "{zero} 00 {zero} 00 {hop} 00000400 00000002 00000000 00000003     eth0\n\
                 {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
            ),
        );
        fake.file("sys/class/net/eth0/ifindex", "2\n");
        let found = gateways(&fake.world);
        let v4 = Gateway { ip: "192.0.2.1".parse().unwrap(), interface: 0 };
        let v6 = Gateway { ip: "fe80::1".parse().unwrap(), interface: 2 };
        assert_eq!(found, [v4, v6]);
        assert_eq!(found[1].at(53).to_string(), "[fe80::1%2]:53");
        assert_eq!(gateways(&Fake::new().world), []);
    }

    #[test]
    fn only_who_was_heard_counts() {
        let row = |state: u16, ip: &[u8]| {
            let mut row = vec![0; NDMSG];
            row[4..8].copy_from_slice(&3u32.to_ne_bytes());
            row[8..10].copy_from_slice(&state.to_ne_bytes());
            row.extend((4 + ip.len() as u16).to_ne_bytes());
            row.extend(NDA_DST.to_ne_bytes());
            row.extend(ip);
            row
        };
        let ip = "192.0.2.1".parse().unwrap();
        assert_eq!(reachable(&row(NUD_REACHABLE, &[192, 0, 2, 1])), Some(Some((ip, 3))));
        assert_eq!(reachable(&row(0x04, &[192, 0, 2, 1])), Some(None));
        assert_eq!(reachable(&row(NUD_REACHABLE, &[1])), Some(None));
        assert_eq!(reachable(&[0; 4]), None);
    }

    #[test]
    fn the_kernel_is_asked() {
        let nobody = Gateway { ip: "192.0.2.77".parse().unwrap(), interface: 0 };
        assert_eq!(heard(&[nobody]), None);
        assert!(Netlink::open(None).is_ok_and(|mut kernel| {
            kernel
                .dump(RTM_GETNEIGH, &[0; NDMSG], 1, RTM_NEWNEIGH, MAX_READS, &mut |row| {
                    reachable(row).map(drop)
                })
                .is_ok()
        }));
    }

    proptest! {
        #[test]
        fn any_line_and_row_is_survived(line in "[0-9a-f ]{0,120}", row in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (v4(&line), v6(&World::at("/nowhere"), &line), reachable(&row));
        }
    }
}
