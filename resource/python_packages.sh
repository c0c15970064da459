# What `ros2 run m3l_ros install_packages` has installed.
_colcon_prepend_unique_value PYTHONPATH "$COLCON_CURRENT_PREFIX/opt/m3l_ros/python"
