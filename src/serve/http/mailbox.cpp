#include "serve/http/mailbox.h"

namespace sluice::serve {

void Mailbox::push(std::shared_ptr<Inbox> inbox, int request, engine::TextEvent event) {
  const std::lock_guard lock(mutex_);
  if (!schedule_) return;
  letters_.push_back({std::move(inbox), {request, std::move(event)}});
  if (!std::exchange(scheduled_, true)) schedule_();
}

void Mailbox::close() {
  const std::lock_guard lock(mutex_);
  schedule_ = nullptr;
}

void Mailbox::drain() {
  std::vector<Letter> letters;
  {
    const std::lock_guard lock(mutex_);
    letters.swap(letters_);
    scheduled_ = false;
  }
  for (Letter& letter : letters) {
    Inbox& inbox = *letter.inbox;
    if (inbox.closed) continue;
    inbox.bytes += sizeof(Inbox::Item) + letter.item.event.text.size();
    inbox.items.push_back(std::move(letter.item));
    if (inbox.max_bytes == 0 || inbox.bytes <= inbox.max_bytes || !inbox.blocked) continue;
    inbox.max_bytes = 0;
    inbox.overflow();
  }
  for (const Letter& letter : letters) {
    Inbox& inbox = *letter.inbox;
    if (inbox.closed || inbox.items.empty() || std::exchange(inbox.woken, true)) continue;
    if (inbox.wake) inbox.wake();
  }
}

}  // namespace sluice::serve
