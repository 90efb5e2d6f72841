"""Processes: one host pays for the imports once, and forks a fresh process for every job."""

from penstock.processes.channel import Channel
from penstock.processes.host import Host, Job

__all__ = ["Channel", "Host", "Job"]
