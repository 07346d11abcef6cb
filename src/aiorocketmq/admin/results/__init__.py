"""What admin operations give back, by family: plain values, with times as datetimes and sums worked out.

Java: the beans in `org.apache.rocketmq.remoting.protocol.{admin,body}`. A module is imported with its family.
"""
