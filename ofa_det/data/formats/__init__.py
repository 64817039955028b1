"""Data sets as people have them, brought into COCO layout: Pascal VOC, YOLO, TensorFlow's CSV, other COCO layouts."""
