"""Networks, as settings name them."""

from ipaddress import IPv4Network, IPv6Network, ip_network


def parse_networks(names: list[str]) -> list[IPv4Network | IPv6Network]:
    """Networks and addresses, such as 10.0.0.0/8 or ::1; raises ValueError."""
    return [ip_network(name) for name in names]
