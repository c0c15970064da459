"""FrameSynchronizerFilter in a node that used ApproximateTimeSynchronizer."""

import message_filters
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from m3l_ros.synchronizer_filter import FrameSynchronizerFilter


class Listener(Node):
    def __init__(self) -> None:
        super().__init__("listener")
        color = message_filters.Subscriber(self, Image, "color/image_raw", qos_profile=qos_profile_sensor_data)
        depth = message_filters.Subscriber(self, Image, "depth/image_rect", qos_profile=qos_profile_sensor_data)
        self.synchronizer = FrameSynchronizerFilter([color, depth], ["color", "depth"], self)
        self.synchronizer.registerCallback(self.on_set)

    def on_set(self, color: Image | None, depth: Image | None) -> None:
        """None stands in place of a missing one; ``missing`` says why."""
        self.get_logger().info(f"missing: {dict(self.synchronizer.missing) or 'nothing'}")


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Listener())
