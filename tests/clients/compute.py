"""Compute Engine by google-cloud-compute. All topics in one process: importing the
client alone takes seconds."""

# ruff: noqa: F401 - unittest finds the tests by these names
import sandbox
from compute_disks import Disks
from compute_instances import Instances
from compute_networks import LoadBalancers, Networks

if __name__ == "__main__":
    sandbox.main()
