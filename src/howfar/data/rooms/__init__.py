"""Procedural indoor scenes with exact labels, rendered on demand."""

from howfar.data.rooms.layout import SCENES, draw_room
from howfar.data.rooms.load import outline_of, rooms
from howfar.data.rooms.parts import CLASSES, OBJECTS
from howfar.data.rooms.render import View, render

__all__ = ["CLASSES", "OBJECTS", "SCENES", "View", "draw_room", "outline_of", "render", "rooms"]
