#include "gateway/flame.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <vector>

namespace narke::gateway {
namespace {

constexpr double kWidth = 1200, kRow = 17, kTop = 34, kLetter = 6.7;  // pixels
constexpr double kLeast = 0.3;                                        // narrower boxes are left out
constexpr size_t kDeepest = 200;

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string label_of(const json::object& frame) {
  return text_at(frame, "function") + " (" + file_name(text_at(frame, "file")) + ":" +
         std::to_string(number_at(frame, "line", 0)) + ")";
}

const json::array& array_in(const json::object& from, std::string_view key) {
  static const json::array kNone;
  const json::value* value = from.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

struct Node {
  int64_t count = 0;
  std::map<std::string, std::unique_ptr<Node>> callees;  // in an order that does not change
};

size_t depth_of(const Node& node) {
  size_t deepest = 0;
  for (const auto& [name, callee] : node.callees) deepest = std::max(deepest, 1 + depth_of(*callee));
  return deepest;
}

Node tree_of(const json::object& profile) {
  Node root;
  for (const json::value& value : array_in(profile, "stacks")) {
    const json::object& stack = value.get_object();
    const int64_t count = number_at(stack, "count", 0);
    root.count += count;
    Node* at = &root;
    size_t depth = 0;
    for (const json::value& frame : array_in(stack, "frames")) {
      if (++depth > kDeepest) break;
      std::unique_ptr<Node>& callee = at->callees[label_of(frame.get_object())];
      if (!callee) callee = std::make_unique<Node>();
      at = callee.get();
      at->count += count;
    }
  }
  return root;
}

// A warm colour that a name always has.
std::string colour_of(const std::string& name) {
  uint32_t hash = 2166136261u;
  for (const char c : name.substr(0, name.find(" ("))) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  char text[32];
  std::snprintf(text, sizeof(text), "rgb(%u,%u,%u)", 205 + hash % 50, 90 + hash / 64 % 120, 40 + hash / 8192 % 40);
  return text;
}

struct Drawing {
  std::string svg;
  double height;
  int64_t total;
  const char* unit;

  void box(const std::string& name, int64_t count, double x, double width, size_t depth) {
    const double y = height - kRow * static_cast<double>(depth + 1);
    char text[256];
    std::snprintf(text, sizeof(text), "<rect x='%.2f' y='%.1f' width='%.2f' height='%.1f' fill='%s' rx='2'/>", x, y,
                  std::max(width - 0.5, 0.1), kRow - 1, colour_of(name).c_str());
    svg += "<g>" + std::string(text) + "<title>" + escaped(name) + ": " + std::to_string(count) + " " + unit;
    std::snprintf(text, sizeof(text), ", %.1f%%</title>",
                  100.0 * static_cast<double>(count) / static_cast<double>(total));
    svg += text;
    const auto letters = static_cast<size_t>(std::max(width - 6, 0.0) / kLetter);
    if (letters >= 3) {
      std::snprintf(text, sizeof(text), "<text x='%.2f' y='%.1f'>", x + 3, y + kRow - 5);
      svg += text + escaped(name.size() > letters ? name.substr(0, letters - 1) + ".." : name) + "</text>";
    }
    svg += "</g>\n";
  }
  void draw(const Node& node, double x, double width, size_t depth) {
    for (const auto& [name, callee] : node.callees) {
      const double part = width * static_cast<double>(callee->count) / static_cast<double>(node.count);
      if (part >= kLeast) {
        box(name, callee->count, x, part, depth);
        draw(*callee, x, part, depth + 1);
      }
      x += part;
    }
  }
};

}  // namespace

std::string collapsed(const json::object& profile) {
  std::string out;
  for (const json::value& value : array_in(profile, "stacks")) {
    std::string line;
    for (const json::value& frame : array_in(value.get_object(), "frames"))
      line += (line.empty() ? "" : ";") + label_of(frame.get_object());
    out += line + " " + std::to_string(number_at(value.get_object(), "count", 0)) + "\n";
  }
  return out;
}

json::object speedscope(const json::object& profile, const std::string& name) {
  std::map<std::string, size_t> known;
  json::array frames, samples, weights;
  int64_t total = 0;
  for (const json::value& value : array_in(profile, "stacks")) {
    json::array sample;
    for (const json::value& each : array_in(value.get_object(), "frames")) {
      const json::object& frame = each.get_object();
      const auto [at, is_new] = known.try_emplace(label_of(frame), frames.size());
      if (is_new)
        frames.push_back({{"name", text_at(frame, "function")},
                          {"file", text_at(frame, "file")},
                          {"line", number_at(frame, "line", 0)}});
      sample.push_back(at->second);
    }
    samples.push_back(std::move(sample));
    weights.push_back(number_at(value.get_object(), "count", 0));
    total += number_at(value.get_object(), "count", 0);
  }
  json::object sampled = {{"type", "sampled"},
                          {"name", name},
                          {"unit", "none"},
                          {"startValue", 0},
                          {"endValue", total},
                          {"samples", std::move(samples)},
                          {"weights", std::move(weights)}};
  return {{"$schema", "https://www.speedscope.app/file-format-schema.json"},
          {"name", name},
          {"shared", {{"frames", std::move(frames)}}},
          {"profiles", json::array{std::move(sampled)}}};
}

std::string flame_svg(const json::object& profile, const std::string& title, const char* unit) {
  const Node root = tree_of(profile);
  Drawing drawing{"", kTop + kRow * static_cast<double>(depth_of(root) + 1) + 8, std::max<int64_t>(root.count, 1),
                  unit};
  if (root.count > 0) drawing.draw(root, 0, kWidth, 0);
  char head[512];
  std::snprintf(head, sizeof(head),
                "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' height='%.0f' "
                "font-family='monospace' font-size='11'><rect width='100%%' height='100%%' fill='#fdfaf5'/>"
                "<text x='8' y='20' font-size='14'>",
                kWidth, drawing.height, kWidth, drawing.height);
  const std::string note = root.count > 0 ? "" : " (nothing was met while it was looked at)";
  return head + escaped(title) + ", " + std::to_string(root.count) + " " + unit + note + "</text>\n" + drawing.svg +
         "</svg>\n";
}

std::string memory_table(const json::object& profile, const std::string& title) {
  struct Place {
    int64_t bytes = 0, blocks = 0;
  };
  std::map<std::string, Place> places;
  for (const json::value& value : array_in(profile, "stacks")) {
    const json::object& stack = value.get_object();
    const json::array& frames = array_in(stack, "frames");
    if (frames.empty()) continue;
    const json::object& innermost = frames.back().get_object();
    Place& place = places[text_at(innermost, "function") + " (" + text_at(innermost, "file") + ":" +
                          std::to_string(number_at(innermost, "line", 0)) + ")"];
    place.bytes += number_at(stack, "count", 0);
    place.blocks += number_at(stack, "blocks", 0);
  }
  std::vector<std::pair<std::string, Place>> sorted(places.begin(), places.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(-a.second.bytes, a.first) < std::pair(-b.second.bytes, b.first);
  });
  std::string rows;
  for (const auto& [name, place] : sorted)
    rows += "<tr><td>" + std::to_string(place.bytes) + "</td><td>" + std::to_string(place.blocks) + "</td><td>" +
            escaped(name) + "</td></tr>\n";
  return "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>" + escaped(title) +
         "</title><style>body{font:14px sans-serif}td{padding:2px 12px}td:not(:last-child){text-align:right}"
         "</style></head><body><h1>" +
         escaped(title) + "</h1><p>Traced at the end " + std::to_string(number_at(profile, "traced_bytes", 0)) +
         " bytes, at the peak " + std::to_string(number_at(profile, "peak_bytes", 0)) + "; resident " +
         std::to_string(number_at(profile, "resident_bytes", 0)) +
         ".</p><table><thead><tr><th>Bytes</th><th>Blocks</th><th>Allocated at</th></tr></thead><tbody>\n" + rows +
         "</tbody></table></body></html>\n";
}

std::string stack_text(const json::object& answer) {
  std::string out = "Process " + std::to_string(number_at(answer, "pid", 0)) + "\n";
  for (const json::value& value : array_in(answer, "threads")) {
    const json::object& thread = value.get_object();
    const std::string state = text_at(thread, "state");
    out += "Thread " + std::to_string(number_at(thread, "native_id", 0)) + " (" +
           (state == "R"   ? "active"
            : state == "S" ? "idle"
                           : "state " + state) +
           (flag_at(thread, "holds_gil") ? "+gil" : "") + "): \"" +
           (flag_at(thread, "is_main") ? "MainThread" : text_at(thread, "name")) + "\"\n";
    for (const json::value& each : array_in(thread, "frames"))
      out += "    " + text_at(each.get_object(), "function") + " (" + text_at(each.get_object(), "file") + ":" +
             std::to_string(number_at(each.get_object(), "line", 0)) + ")\n";
  }
  return out;
}

}  // namespace narke::gateway
