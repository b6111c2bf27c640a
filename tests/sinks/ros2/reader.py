"""Type definitions for the independent reader of ROS 2 messages, which knows all but hri_msgs by itself."""

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

HRI = {
    "hri_msgs/msg/IdsList": "std_msgs/Header header\nstring[] ids\n",
    "hri_msgs/msg/NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c\n",
    "hri_msgs/msg/Skeleton2D": "std_msgs/Header header\nhri_msgs/NormalizedPointOfInterest2D[18] skeleton\n",
    "hri_msgs/msg/NormalizedRegionOfInterest2D": (
        "std_msgs/Header header\nfloat32 xmin\nfloat32 ymin\nfloat32 xmax\nfloat32 ymax\nfloat32 c\n"
    ),
}


def typestore():
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in HRI.items():
        store.register(get_types_from_msg(text, name))
    return store
