// Shows what the shop pushes about an order, and opens the order when it is chosen. It answers no requests: pages stay as they are.
self.addEventListener("push", (event) => {
  const { title, body, path, tag } = event.data.json();
  event.waitUntil(self.registration.showNotification(title, { body, tag, icon: "/favicon.svg", data: { path } }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = new URL(event.notification.data.path, self.location.origin);
  if (url.origin !== self.location.origin) return;
  const show = async () => {
    const open = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const own = open.find((page) => page.url === url.href);
    return own ? own.focus() : self.clients.openWindow(url.href);
  };
  event.waitUntil(show());
});
