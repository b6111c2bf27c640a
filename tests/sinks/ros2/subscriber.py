"""Subscribes to the topics of the tests and prints all messages, pickled, after some seconds.

python subscriber.py DOMAIN SECONDS
"""

import pickle
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from cyclonedds.core import Policy
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.qos import Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from sinks.ros2.participant import configuration, dds_struct, dds_type
from tests.sinks.ros2.test_sink import TYPES


def main(domain: int, seconds: float) -> None:
    handle = Domain(domain, configuration("lo", ()))
    participant = DomainParticipant(domain)
    readers = {}
    for topic, name in TYPES.items():
        latched = topic in ("/tf_static",) or topic.endswith("urdf")
        qos = Qos(
            Policy.Reliability.Reliable(max_blocking_time=0),
            Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile,
            Policy.History.KeepAll,
        )
        kind = dds_struct(name.replace("/msg/", "/"), dds_type(name))
        readers[topic] = DataReader(participant, Topic(participant, f"rt{topic}", kind), qos=qos)
    print("ready", flush=True)
    received = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for topic, reader in readers.items():
            samples = [sample for sample in reader.take(100) if sample.sample_info.valid_data]
            received += [(topic, sample.serialize(use_version_2=False)) for sample in samples]
        time.sleep(0.01)
    sys.stdout.buffer.write(pickle.dumps(received))
    del handle


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
