//! A network of a test's own: namespaces on a bridge, between which the wires can be cut. Needs root.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Namespaces of a network.
const HOMES: usize = 3;

/// Where a process runs.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// Its address.
    pub(crate) host: String,
    /// Its network namespace, unless it is that of the test.
    namespace: Option<String>,
}

impl Default for Home {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), namespace: None }
    }
}

impl Home {
    /// A program that is to run there, and the words before its arguments.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Vec<OsString> {
        let program = program.as_ref().as_os_str().to_owned();
        // `ip` becomes the program, so signals go to it.
        let inside = self.namespace.iter().flat_map(|name| ["ip", "netns", "exec", name].map(OsString::from));
        inside.chain([program]).collect()
    }
}

/// A bridge and namespaces on it; dropping it removes all of it.
#[derive(Debug)]
pub(crate) struct Network {
    number: u8,
}

impl Network {
    /// Makes a network that no other test has.
    pub(crate) fn make() -> Self {
        // Tests of other working trees may run at the same time; a test that was killed left its network behind.
        for number in 77..=177 {
            let bridge = format!("rk{number}b");
            let owner = std::fs::read_to_string(format!("/sys/class/net/{bridge}/ifalias")).unwrap_or_default();
            if owner.trim().parse::<u32>().is_ok_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                drop(Self { number });
            }
            if ip(&format!("link add {bridge} type bridge")).is_ok() {
                let network = Self { number };
                network.build();
                return network;
            }
        }
        let reason = ip("link add rk77b type bridge").err().unwrap_or_default();
        panic!(
            "network namespaces cannot be made here; run the tests as root, with CAP_NET_ADMIN and iproute2: {reason}"
        );
    }

    fn build(&self) {
        let bridge = format!("rk{}b", self.number);
        done(&format!("link set {bridge} alias {}", std::process::id()));
        done(&format!("addr add {}/24 dev {bridge}", self.host()));
        done(&format!("link set {bridge} up"));
        for index in 0..HOMES {
            let (name, wire) = (self.name(index), format!("rk{}v{index}", self.number));
            // One that was left behind has no wire any more.
            let _ = ip(&format!("netns del {name}"));
            done(&format!("netns add {name}"));
            done(&format!("link add {wire} type veth peer name eth0 netns {name}"));
            done(&format!("link set {wire} master {bridge} up"));
            done(&format!("-n {name} addr add {}/24 dev eth0", self.address(index)));
            done(&format!("-n {name} link set eth0 up"));
            done(&format!("-n {name} link set lo up"));
        }
    }

    /// The address of the test itself.
    pub(crate) fn host(&self) -> String {
        format!("10.{}.0.1", self.number)
    }

    /// The namespaces.
    pub(crate) fn homes(&self) -> Vec<Home> {
        (0..HOMES).map(|index| Home { host: self.address(index), namespace: Some(self.name(index)) }).collect()
    }

    /// Cuts one namespace off from the others, but not from the test: nothing arrives, and nobody is told.
    pub(crate) fn cut_off(&self, index: usize) {
        self.wires(index, "add");
    }

    /// Mends what was cut.
    pub(crate) fn mend(&self, index: usize) {
        self.wires(index, "del");
    }

    fn wires(&self, index: usize, verb: &str) {
        for other in (0..HOMES).filter(|other| *other != index) {
            for (from, to) in [(index, other), (other, index)] {
                done(&format!("-n {} route {verb} blackhole {}/32", self.name(from), self.address(to)));
            }
        }
    }

    fn name(&self, index: usize) -> String {
        format!("rk{}n{index}", self.number)
    }

    fn address(&self, index: usize) -> String {
        format!("10.{}.0.{}", self.number, 11 + index)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for index in 0..HOMES {
            let _ = ip(&format!("netns del {}", self.name(index)));
            // What is left of connections keeps the namespace for a while, and with it the wire.
            let _ = ip(&format!("link del rk{}v{index}", self.number));
        }
        let _ = ip(&format!("link del rk{}b", self.number));
    }
}

fn done(arguments: &str) {
    ip(arguments).unwrap_or_else(|reason| panic!("ip {arguments}: {reason}"));
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
