//! Addresses and networks of them, as a setting lists them.

use std::net::IpAddr;
use std::str::FromStr;

/// Networks, perhaps none: `10.0.0.0/8, ::1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// The address as 128 bits, of which IPv4 takes the first 32.
    bits: u128,
    is_v4: bool,
    prefix_bits: u32,
}

impl Networks {
    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits_of(address);
        let holds = |network: &Network| {
            let mask = u128::MAX.checked_shl(u128::BITS - network.prefix_bits).unwrap_or(0);
            network.is_v4 == is_v4 && (network.bits ^ bits) & mask == 0
        };
        self.0.iter().any(holds)
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address and no network");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_no_address| wrong())?;
        let (bits, is_v4) = bits_of(address);
        let most = if is_v4 { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(most), str::parse).map_err(|_no_number| wrong())?;
        if prefix_bits > most {
            return Err(wrong());
        }
        Ok(Self { bits, is_v4, prefix_bits })
    }
}

/// An address's bits, and whether it is one of IPv4, which IPv6 may wrap.
fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_their_first_bits() {
        let networks: Networks = "10.0.0.0/8, 192.168.1.7, 2001:db8::/32,::1".parse().unwrap();
        for inside in ["10.255.0.1", "192.168.1.7", "2001:db8:ffff::1", "::1", "::ffff:10.0.0.1"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.6", "2001:db9::1", "::2", "::a00:1"] {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
        let everybody: Networks = "0.0.0.0/0".parse().unwrap();
        assert!(everybody.contain("8.8.8.8".parse().unwrap()));
        assert!(!everybody.contain("::8".parse().unwrap()));
        let nobody: Networks = "none".parse().unwrap();
        assert!(!nobody.contain("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/", "1.1.1.1,"]
        {
            text.parse::<Networks>().unwrap_err();
        }
    }
}
