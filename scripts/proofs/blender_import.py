"""Runs inside Blender: imports a .bvh or .glb file and writes the heads of all bones in some frames as JSON.

blender --background --python-exit-code 3 --python blender_import.py -- FILE FPS OUTPUT ROWS
"""

import builtins
import json
import sys

import bpy

source, fps, output, *rows = sys.argv[sys.argv.index("--") + 1 :]
plain_open = builtins.open


def open_text(file, mode="r", *arguments, **options):
    """Blender 3.4's importer opens files in mode "rU", which its Python no longer knows."""
    return plain_open(file, mode.replace("U", ""), *arguments, **options)


builtins.open = open_text
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = int(fps)
if source.endswith(".bvh"):
    bpy.ops.import_anim.bvh(filepath=source, global_scale=0.01, frame_start=1)
    first = 1
else:
    bpy.ops.import_scene.gltf(filepath=source)
    first = 0

frames = []
for row in rows:
    scene.frame_set(first + int(row))
    heads = {}
    for thing in scene.objects:
        if thing.type == "ARMATURE":
            for bone in thing.pose.bones:
                heads[bone.name] = list(thing.matrix_world @ bone.head)
        else:
            heads[thing.name] = list(thing.matrix_world.translation)
    frames.append(heads)
with plain_open(output, "w") as file:
    json.dump(frames, file)
