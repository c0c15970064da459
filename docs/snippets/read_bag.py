"""Label a recording as the robot would have: the same decoding, health checks and synchronizer. No ROS needed."""

from itertools import islice

from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.reader import open_bag
from m3l_core.bags.topics import choose_topics
from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.registration.cameras import field_of_view_deg
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle, shipped_recording

bundle = ModelBundle.load(shipped_bundle())
segmenter = Segmenter(bundle.description, load_engine(bundle, "openvino"))  # "auto": the fastest that is installed

with open_bag(shipped_recording()) as bag:  # rosbag2 (MCAP, SQLite) or ROS 1
    topics = choose_topics(bag.topics, {"color": None, "depth": None})  # None: the one that looks like it
    segmenter.horizontal_fov_deg = field_of_view_deg(bag, topics)  # by its camera_info
    for frames in islice(BagFrames(bag, topics), 5):
        segmentation = segmenter.segment(frames)
        print(frames.reference_frame.stamp_ns, segmentation.labels.shape, f"{segmentation.confidence.mean() / 255:.2f}")
