"""Record poses for some seconds to walk.npz, then plot the height of both wrists to walk.png.

    python examples/record_and_plot.py [tcp://127.0.0.1:5555] [seconds] [folder]

Needs a running node: `poselift run webcam`, or `poselift run synthetic` without a camera.
"""

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sinks.npz import NPZ
from stream import subscribe
from stream.protocols import ComponentContext, opened

ENDPOINT, SECONDS, FOLDER = (sys.argv[1:] + ["tcp://127.0.0.1:5555", "10", "."][len(sys.argv) - 1 :])[:3]
recording, picture = Path(FOLDER) / "walk.npz", Path(FOLDER) / "walk.png"

end_s = time.monotonic() + float(SECONDS)
with opened(NPZ(NPZ.Settings(path=str(recording)), ComponentContext("record"))) as sink:
    for poses in subscribe(ENDPOINT, timeout_s=10):
        sink.send(poses)
        if time.monotonic() > end_s:
            break

data = np.load(recording)  # docs/wire.md explains xyz, id, frame; stream/files/poses.py lists all arrays
t_s = (data["time_ns"] - data["time_ns"][0])[data["frame"]] / 1e9
axes = (figure := Figure(figsize=(8, 4))).subplots()
for person in np.unique(data["id"]):
    rows = data["id"] == person
    for name, joint in (("left", 13), ("right", 16)):
        axes.plot(t_s[rows], -data["xyz"][rows, joint, 1], label=f"{person}, {name} wrist")  # y points down
axes.set(xlabel="s", ylabel="height above the pelvis, m")
axes.legend()
figure.savefig(picture)
print(f"{len(data['id'])} poses in {recording}, plotted to {picture}")
