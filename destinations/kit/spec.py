"""Segment's spec: event types, and the track events that it names; others are "custom". Pure.

https://segment.com/docs/connections/spec/ecommerce/v2/
https://segment.com/docs/connections/spec/b2b-saas/
https://segment.com/docs/connections/spec/mobile/
https://segment.com/docs/connections/spec/video/
https://segment.com/docs/connections/spec/email/
https://segment.com/docs/connections/spec/live-chat/
"""

from __future__ import annotations

from destinations.kit.paths import normal

#: The spec's event types.
EVENT_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})

_ECOMMERCE = (
    *("Products Searched", "Product List Viewed", "Product List Filtered", "Promotion Viewed"),
    *("Promotion Clicked", "Product Clicked", "Product Viewed", "Product Added", "Product Removed"),
    *("Cart Viewed", "Checkout Started", "Checkout Step Viewed", "Checkout Step Completed"),
    *("Payment Info Entered", "Order Completed", "Order Updated", "Order Refunded"),
    *("Order Cancelled", "Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed"),
    *("Product Added to Wishlist", "Product Removed from Wishlist"),
    *("Wishlist Product Added to Cart", "Product Shared", "Cart Shared", "Product Reviewed"),
    # the first version's names, which many senders have kept
    *("Viewed Product Category", "Viewed Product", "Added Product", "Removed Product"),
    *("Completed Order", "Viewed Checkout Step", "Completed Checkout Step", "Viewed Promotion"),
    *("Clicked Promotion", "Refunded Order"),
)
_B2B = (
    *("Account Created", "Account Deleted", "Signed Up", "Signed In", "Signed Out"),
    *("Invite Sent", "Account Added User", "Account Removed User"),
    *("Trial Started", "Trial Ended"),
)
_MOBILE = (
    *("Application Installed", "Application Opened", "Application Foregrounded"),
    *("Application Updated", "Application Backgrounded", "Application Crashed"),
    *("Application Uninstalled", "Push Notification Received", "Push Notification Tapped"),
    *("Push Notification Bounced", "Install Attributed", "Deep Link Clicked", "Deep Link Opened"),
)
_VIDEO = (
    *("Video Playback Started", "Video Playback Paused", "Video Playback Interrupted"),
    *("Video Playback Buffer Started", "Video Playback Buffer Completed"),
    *("Video Playback Seek Started", "Video Playback Seek Completed", "Video Playback Resumed"),
    *("Video Playback Completed", "Video Playback Exited", "Video Quality Updated"),
    *("Video Content Started", "Video Content Playing", "Video Content Completed"),
    *("Video Ad Started", "Video Ad Playing", "Video Ad Completed"),
)
_MESSAGES = (
    *("Email Bounced", "Email Delivered", "Email Link Clicked", "Email Marked as Spam"),
    *("Email Opened", "Unsubscribed"),
    *("Live Chat Conversation Started", "Live Chat Conversation Ended"),
    *("Live Chat Message Sent", "Live Chat Message Received"),
)
#: Names in plain form (`kit.paths.normal`).
EVENTS = frozenset(map(normal, (*_ECOMMERCE, *_B2B, *_MOBILE, *_VIDEO, *_MESSAGES)))
_MOST_CHARS = max(map(len, EVENTS)) * 2


def is_custom(event_name: str) -> bool:
    """Whether no spec names this event, in any case style."""
    return len(event_name) > _MOST_CHARS or normal(event_name) not in EVENTS
