"""Bytes that version 1 of the wire has: what was once sent must stay readable."""

MSGPACK = {
    "pose3d": (
        b"\xde\x00\x12\xa1v\x01\xa6schema\xa6pose3d\xa7session\xa46f1c\xa6source\xa4cam0\xa3seq\x07\xact"
        b"_capture_ns\xcf\x17\x97\x9c\xfe4\xf8\xd3\x00\xact_publish_ns\xcf\x17\x97\x9c\xfe6*\x00\x00\xa6"
        b"lat_ms\x85\xa7capture\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xa6detect\xcb@\x04\x00\x00\x00\x00\x00"
        b"\x00\xa5queue\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa4lift\xcb@ \x00\x00\x00\x00\x00\x00\xa4post\xcb"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\xa4mode\xa4live\xa3lag\x03\xa3hop\x04\xa6window\x83\xa6frames"
        b"\xcc\xf3\xa4real\xcc\xc8\xa6padded+\xa8frame_id\xb2cam0_optical_frame\xa5units\xa1m\xa8skeleto"
        b"n\xa6h36m17\xa5model\x82\xa4name\xa6mixste\xa6sha256\xa400ff\xa7dropped\x02\xa7persons\x91\x88"
        b"\xa2id\xa5a3f9k\xa5state\xa2ok\xa5score\xcb?\xe8\x00\x00\x00\x00\x00\x00\xa3xyz\xc4\x18\x00\x00"
        b"\x00?\x00\x00\x80\xbe\x00\x00\x00@\x00\x00\xc0\x7f\x00\x00\xc0\x7f\x00\x00\xc0\x7f\xa4conf\xc4"
        b"\x08\x00\x00@?\x00\x00\x00\x00\xa6origin\xc4\x02\x01\x00\xa4root\x82\xa3pos\x93\xcb?\xe0\x00\x00"
        b"\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xcb@\x10\x00\x00\x00\x00\x00\x00\xa6status\xa6"
        b"height\xa4kp2d\xc4\x18\x00\x00\xa0C\x00\x00pC\x00\x00\x80?\x00\x00\xc0\x7f\x00\x00\xc0\x7f\x00"
        b"\x00\x00\x00"
    ),
    "keypoints2d": (
        b"\x88\xa1v\x01\xa6schema\xabkeypoints2d\xa6source\xa4cam0\xa3seq\x07\xact_capture_ns\xcf\x17\x97"
        b"\x9c\xfe4\xf8\xd3\x00\xa7size_wh\x92\xcd\x02\x80\xcd\x01\xe0\xa8skeleton\xa6coco17\xa7persons\x92"
        b"\x81\xa2kp\xc4\x18\x00\x00\xa0C\x00\x00pC\x00\x00\x00?\x00\x00\xc0\x7f\x00\x00\xc0\x7f\x00\x00"
        b"\x00\x00\x82\xa2kp\xc4\x18\x00\x00\x80?\x00\x00\x00@\x00\x00\x80?\x00\x00@@\x00\x00\x80@\x00\x00"
        b"\x80>\xa2id\xa1b"
    ),
    "meta": (
        b"\x8c\xa1v\x01\xa6schema\xa4meta\xa7session\xa46f1c\xa6source\xa4cam0\xa8skeleton\xa4pair\xa6jo"
        b"ints\x92\xa6pelvis\xa4head\xa7parents\x92\xff\x00\xaaflip_pairs\x91\x92\x00\x01\xa7size_wh\x92"
        b"\xcd\x02\x80\xcd\x01\xe0\xa8frame_id\xb2cam0_optical_frame\xa5units\xa1m\xa5model\x82\xa4name\xa6"
        b"mixste\xa6sha256\xa400ff"
    ),
    "status": (
        b"\x86\xa1v\x01\xa6schema\xa6status\xa7session\xa46f1c\xa4node\xa8poselift\xact_publish_ns\xcf\x17"
        b"\x97\x9c\xfe6*\x00\x00\xa6report\x83\xa8counters\x81\xabcam0.frames\x03\xa6states\x80\xa9stage"
        b's_ms\x81\xa4lift\x84\xa3p50\xcb@ \x00\x00\x00\x00\x00\x00\xa3p95\xcb@"\x00\x00\x00\x00\x00\x00'
        b"\xa3p99\xcb@#\x00\x00\x00\x00\x00\x00\xa1n\x03"
    ),
}
JSON = {
    "pose3d": (
        b'{"v":1,"schema":"pose3d","session":"6f1c","source":"cam0","seq":7,"t_capture_ns":1699999999980'
        b'000000,"t_publish_ns":1700000000000000000,"lat_ms":{"capture":0.0,"detect":2.5,"queue":0.5,"li'
        b'ft":8.0,"post":0.0},"mode":"live","lag":3,"hop":4,"window":{"frames":243,"real":200,"padded":4'
        b'3},"frame_id":"cam0_optical_frame","units":"m","skeleton":"h36m17","model":{"name":"mixste","s'
        b'ha256":"00ff"},"dropped":2,"persons":[{"id":"a3f9k","state":"ok","score":0.75,"xyz":[[0.5,-0.2'
        b'5,2.0],[null,null,null]],"conf":[0.75,0.0],"origin":[1,0],"root":{"pos":[0.5,1.0,4.0],"status"'
        b':"height"},"kp2d":[[320.0,240.0,1.0],[null,null,0.0]]}]}'
    ),
    "keypoints2d": (
        b'{"v":1,"schema":"keypoints2d","source":"cam0","seq":7,"t_capture_ns":1699999999980000000,"size'
        b'_wh":[640,480],"skeleton":"coco17","persons":[{"kp":[[320.0,240.0,0.5],[null,null,0.0]]},{"kp"'
        b':[[1.0,2.0,1.0],[3.0,4.0,0.25]],"id":"b"}]}'
    ),
    "meta": (
        b'{"v":1,"schema":"meta","session":"6f1c","source":"cam0","skeleton":"pair","joints":["pelvis","'
        b'head"],"parents":[-1,0],"flip_pairs":[[0,1]],"size_wh":[640,480],"frame_id":"cam0_optical_fram'
        b'e","units":"m","model":{"name":"mixste","sha256":"00ff"}}'
    ),
    "status": (
        b'{"v":1,"schema":"status","session":"6f1c","node":"poselift","t_publish_ns":1700000000000000000'
        b',"report":{"counters":{"cam0.frames":3},"states":{},"stages_ms":{"lift":{"p50":8.0,"p95":9.0,"'
        b'p99":9.5,"n":3}}}}'
    ),
}
