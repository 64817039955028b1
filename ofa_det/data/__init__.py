"""Images, boxes and batches of COCO-format data sets."""

import cv2

# Loader workers are the parallelism here. A pool of OpenCV's own would not survive the fork that starts them: a worker
# that touches it waits for ever.
cv2.setNumThreads(0)
