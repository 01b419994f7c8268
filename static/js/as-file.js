// `<textarea name="a" data-send-as-file="b">`: what is pasted is sent as a file `b`, for which there is no limit of size.
document.addEventListener("formdata", (event) => {
  for (const field of event.target.querySelectorAll("[data-send-as-file]")) {
    const text = event.formData.get(field.name);
    if (!text) continue;
    event.formData.delete(field.name);
    event.formData.append(field.dataset.sendAsFile, new File([text], "pasted.txt"));
  }
});
