"""Fields of the ROS 2 message types that poselift publishes: for DDS, and as text for MCAP."""

from collections.abc import Iterator

# One line per field, as in a .msg file; types of other packages by their full name.
DEFINITIONS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "std_msgs/String": "string data",
    "std_msgs/ColorRGBA": "float32 r\nfloat32 g\nfloat32 b\nfloat32 a",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation",
    "geometry_msgs/Transform": "geometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation",
    "geometry_msgs/TransformStamped": (
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/Transform transform"
    ),
    "tf2_msgs/TFMessage": "geometry_msgs/TransformStamped[] transforms",
    "sensor_msgs/CompressedImage": "std_msgs/Header header\nstring format\nuint8[] data",
    "visualization_msgs/UVCoordinate": "float32 u\nfloat32 v",
    "visualization_msgs/MeshFile": "string filename\nuint8[] data",
    "visualization_msgs/Marker": (
        "std_msgs/Header header\nstring ns\nint32 id\nint32 type\nint32 action\ngeometry_msgs/Pose pose\n"
        "geometry_msgs/Vector3 scale\nstd_msgs/ColorRGBA color\nbuiltin_interfaces/Duration lifetime\n"
        "bool frame_locked\ngeometry_msgs/Point[] points\nstd_msgs/ColorRGBA[] colors\n"
        "string texture_resource\nsensor_msgs/CompressedImage texture\n"
        "visualization_msgs/UVCoordinate[] uv_coordinates\nstring text\nstring mesh_resource\n"
        "visualization_msgs/MeshFile mesh_file\nbool mesh_use_embedded_materials"
    ),
    "visualization_msgs/MarkerArray": "visualization_msgs/Marker[] markers",
    "diagnostic_msgs/KeyValue": "string key\nstring value",
    "diagnostic_msgs/DiagnosticStatus": (
        "byte level\nstring name\nstring message\nstring hardware_id\ndiagnostic_msgs/KeyValue[] values"
    ),
    "diagnostic_msgs/DiagnosticArray": ("std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status"),
    "hri_msgs/IdsList": "std_msgs/Header header\nstring[] ids",
    "hri_msgs/NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c",
    "hri_msgs/Skeleton2D": "std_msgs/Header header\nhri_msgs/NormalizedPointOfInterest2D[18] skeleton",
    "hri_msgs/NormalizedRegionOfInterest2D": (
        "std_msgs/Header header\nfloat32 xmin\nfloat32 ymin\nfloat32 xmax\nfloat32 ymax\nfloat32 c"
    ),
    "rmw_dds_common/Gid16": "uint8[16] data",
    "rmw_dds_common/Gid24": "uint8[24] data",
} | {
    f"rmw_dds_common/{name}{size}": fields.replace("Gid", f"Gid{size}").replace("Info[]", f"Info{size}[]")
    for size in (16, 24)
    for name, fields in {
        "NodeEntitiesInfo": (
            "string node_namespace\nstring node_name\nrmw_dds_common/Gid[] reader_gid_seq\n"
            "rmw_dds_common/Gid[] writer_gid_seq"
        ),
        "ParticipantEntitiesInfo": (
            "rmw_dds_common/Gid gid\nrmw_dds_common/NodeEntitiesInfo[] node_entities_info_seq"
        ),
    }.items()
}


def fields(name: str) -> Iterator[tuple[str, str, int | None]]:
    """Name, element type and length of each field: None for a single value, 0 for a sequence."""
    for line in DEFINITIONS[name].splitlines():
        kind, field = line.split(" ")
        element, bracket, length = kind.partition("[")
        yield field, element, int(length[:-1] or 0) if bracket else None


def text(name: str) -> str:
    """The definition of a type and of all types it is made of, as MCAP's ros2msg schemas have it."""
    used = _used(name)
    parts = [DEFINITIONS[name]] + [f"MSG: {other}\n{DEFINITIONS[other]}" for other in used]
    return f"\n{'=' * 80}\n".join(parts) + "\n"


def _used(name: str) -> list[str]:
    found: list[str] = []
    for _, element, _ in fields(name):
        if element in DEFINITIONS:
            found += [other for other in [element, *_used(element)] if other not in found]
    return found
