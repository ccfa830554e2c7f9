//! What a virtual machine is booted from: Debian's kernel for clouds with an initial RAM disk, and a
//! file system image of the lab's root with the package installed. Both lie in the lab's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{self, Kept, kept};

/// Kernel, RAM disk and disk of a machine.
pub struct Image {
    /// The kernel, as QEMU loads it.
    pub kernel: PathBuf,
    /// Loads drivers and hands over to the root file system.
    pub initrd: PathBuf,
    /// The root file system; written to by nobody.
    pub root: PathBuf,
    /// A small disk with an empty file system, since not each Debian can make one by itself; written to
    /// by nobody, too.
    pub spare: PathBuf,
}

/// In the order in which they are loaded: the disk, the port to the tests, and sock_diag, since
/// nothing in the machine loads modules on demand.
const MODULES: &str = "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk \
     virtio_console inet_diag tcp_diag unix_diag";

const INIT: &str = include_str!("init.sh");
const AGENT: &str = include_str!("agent.sh");
const AGENT_UNIT: &str = include_str!("agent.service");

/// `$1`: the folder for kernel and RAM disk, `$2`: the modules, `$3`: /init, `$4`: what Debian's
/// packages have. Newer kernels have their modules compressed.
const KERNEL: &str = r#"
    mkdir -p "$4/initrd/bin" "$4/initrd/dev" "$4/initrd/root" "$4/initrd/modules"
    cp "$4"/boot/vmlinuz-* "$1/vmlinuz"
    cp "$(find "$4/bin" "$4/usr/bin" -name busybox | head -n 1)" "$4/initrd/bin/busybox"
    for module in $2; do
        file=$(find "$4/lib/modules" "$4/usr/lib/modules" -name "$module.ko*" | head -n 1)
        [ -n "$file" ] || continue
        cp "$file" "$4/initrd/modules/"
        case $file in *.xz) xz -d "$4/initrd/modules/$module.ko.xz" ;; esac
        echo "$module.ko" >>"$4/initrd/modules/order"
    done
    printf %s "$3" >"$4/initrd/init"
    chmod 0755 "$4/initrd/init"
    cd "$4/initrd"
    find . | cpio --create --format=newc --quiet >"$1/initrd"
    rm -rf -- "$4""#;

/// In a mount namespace. `$1`: lower folders, `$2`: the image's folder, `$3` and `$4`: the agent and
/// its unit. What takes time at boot and tells nothing is masked.
const DISK: &str = r#"
    mount --make-rprivate /
    mount -t tmpfs vm /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
    cd /mnt/root
    printf %s "$3" >usr/local/sbin/agent
    chmod 0755 usr/local/sbin/agent
    units=etc/systemd/system
    printf %s "$4" >$units/agent.service
    mkdir -p $units/sysinit.target.wants
    ln -s ../agent.service $units/sysinit.target.wants/agent.service
    for unit in serial-getty@ttyS0 e2scrub_reap modprobe@configfs modprobe@drm modprobe@fuse \
        modprobe@efi_pstore modprobe@dm_mod modprobe@loop systemd-modules-load; do
        ln -sf /dev/null $units/$unit.service
    done
    echo lab >etc/hostname
    touch -r usr etc/.updated var/.updated
    cd /
    PATH=$PATH:/usr/sbin:/sbin
    mke2fs -q -t ext4 -d /mnt/root "$2/root.img" 1536M
    mke2fs -q -t ext4 -m 0 "$2/spare.img" 32M"#;

/// What a machine of a Debian suite is booted from, built when it is not there yet.
pub fn image(suite: &str) -> Image {
    let kernel = kernel(suite);
    let root = cache::root(suite);
    let lower = [cache::installed(std::slice::from_ref(&root), &cache::package()), root];
    let lower = cache::stacked(&lower);
    let recipe = [&lower, DISK, AGENT, AGENT_UNIT].join("\n");
    let disk = kept(Kept { lock: "disk", kind: "disk", keep: 2 }, recipe.as_bytes(), |half| {
        cache::must(
            Command::new("unshare")
                .args(["--mount", "--", "bash", "-euc", DISK, "bash", &lower])
                .arg(half)
                .args([AGENT, AGENT_UNIT]),
        );
    });
    Image {
        kernel: kernel.join("vmlinuz"),
        initrd: kernel.join("initrd"),
        root: disk.join("root.img"),
        spare: disk.join("spare.img"),
    }
}

/// Kernel and RAM disk of a suite. Building them needs the package mirror.
fn kernel(suite: &str) -> PathBuf {
    let recipe = [suite, MODULES, INIT, KERNEL].join("\n");
    let kind = format!("kernel-{suite}");
    // Under the lock of all that downloads.
    kept(Kept { lock: "root", kind: &kind, keep: 0 }, recipe.as_bytes(), |half| {
        let packages = half.join("packages");
        cache::must(
            cache::debian(&["--variant=extract"], "linux-image-cloud-amd64,busybox-static")
                .arg(suite)
                .arg(&packages)
                .arg(cache::sources(suite)),
        );
        cache::must(
            Command::new("bash")
                .args(["-euc", KERNEL, "bash"])
                .arg(half)
                .args([MODULES, INIT])
                .arg(&packages),
        );
    })
}

/// Names what the host lacks.
#[track_caller]
pub fn requirements() {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (run `tests/run vm`, which uses sudo)");
    }
    for (tool, package) in [
        ("qemu-system-x86_64", "qemu-system-x86_64 (apt-get install qemu-system-x86)"),
        ("cpio", "cpio (apt-get install cpio)"),
        ("mmdebstrap", "mmdebstrap (apt-get install mmdebstrap)"),
        ("mke2fs", "mke2fs (apt-get install e2fsprogs)"),
        ("setpriv", "setpriv (apt-get install util-linux)"),
    ] {
        let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"];
        if !folders.iter().any(|folder| Path::new(folder).join(tool).exists()) {
            missing.push(package);
        }
    }
    assert!(missing.is_empty(), "virtual machines cannot run here; missing: {}", missing.join("; "));
}
