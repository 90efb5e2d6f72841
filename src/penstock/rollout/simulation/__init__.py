"""Simulated rollouts on a virtual clock, through the real judge: how often does it err?"""
